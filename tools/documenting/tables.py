"""Tables that follow from the code: options of commands, options of pruning methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from onnx_nepenthe.activations import ACTIVATIONS, PATTERNS
from onnx_nepenthe.cli import app
from onnx_nepenthe.ops import READERS

METHOD = "method "


def table(name: str) -> str:
    """The table called `name`: a command, "method fast" for a pruning method, "rectifiers", "operators".

    Raises:
        KeyError: there is none of that name.
    """
    if name.startswith(METHOD):
        return method_table(name.removeprefix(METHOD))
    if name == "rectifiers":
        return f"Operators: {_listed(ACTIVATIONS)}.\n\nPatterns: {_listed(PATTERNS)}."
    if name == "operators":
        return f"{_listed(READERS)}."
    return command_table(app.commands[name])


def command_table(command: click.Command) -> str:
    """One row an option, in the order of `--help`."""
    context = click.Context(command)
    options = (param for param in command.params if isinstance(param, click.Option))
    rows = [record for option in options if (record := option.get_help_record(context)) is not None]
    return _table(("option", "meaning"), [(f"`{option}`", _cell(text)) for option, text in rows])


def method_table(name: str) -> str:
    """One row an option; a line of words where there are none."""
    from onnx_nepenthe.prune.choosing import method_of, options_of  # noqa: PLC0415 — torch is an extra

    rows = [
        (f"`{option}`", f"`{default}`", _cell(doc)) for option, (default, doc) in options_of(method_of(name)).items()
    ]
    return _table(("option", "default", "meaning"), rows) if rows else "It has no options."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
