"""Keep the documentation true: tools/docs.py --help."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent))

from documenting.outputs import with_outputs
from documenting.pages import pages, with_tables
from documenting.tables import table


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Write the parts of docs/ that follow from the code.

    \b
    python tools/docs.py tables                      options of commands and methods
    python tools/docs.py outputs docs/howto/*.md     what the commands of these pages print
    """


@main.command()
def tables() -> None:
    """Write every table between `<!-- table:NAME -->` and `<!-- /table -->` anew."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(with_tables(text, table), encoding="utf-8")


@main.command()
@click.argument("chosen", metavar="PAGE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def outputs(chosen: tuple[Path, ...]) -> None:
    """Run the `$` commands of each PAGE in a folder with the bundled models; write what they print below them.

    Titled blocks are files in that folder. Run it on a quiet machine: the pages show times.
    """
    for page in chosen:
        text, codes = with_outputs(page)
        page.write_text(text, encoding="utf-8")
        for command, code in codes:
            click.echo(f"{page}: {code}  {command.splitlines()[0]}")


if __name__ == "__main__":
    main()
