"""tools/docs.py: blocks, tables, diffs, and what commands print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from documenting.outputs import with_outputs
from documenting.pages import Block, blocks, changed, tables, with_tables
from documenting.tables import table

PAGE = """# A page

```python title="say.py"
import sys
```

Text between.

```python title="say.py"
print("said", *sys.argv[1:])
sys.exit(3)
```

```console
$ python say.py \\
  twice
old output
$ echo $?
$ ls models/digits-mlp.onnx
```

```sh
never run
```

<!-- table:inspect -->
old
<!-- /table -->
"""


def test_blocks_have_a_language_a_title_and_commands() -> None:
    found = blocks(PAGE)
    assert [(block.language, block.title) for block in found] == [
        ("python", "say.py"),
        ("python", "say.py"),
        ("console", ""),
        ("sh", ""),
    ]
    assert found[2].commands == ["python say.py \\\n  twice", "echo $?", "ls models/digits-mlp.onnx"]
    assert [block.text for block in blocks(PAGE, "sh")] == ["never run\n"]


def test_outputs_stand_below_their_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    text, codes = with_outputs(page)
    assert "$ python say.py \\\n  twice\nsaid twice\n$ echo $?\n3\n$ ls models/digits-mlp.onnx\n" in text
    assert [code for _, code in codes] == [3, 0, 0]
    assert text.partition("```console")[0] == PAGE.partition("```console")[0]
    assert text.partition("```sh")[2] == PAGE.partition("```sh")[2]


def test_tables_are_put_between_their_markers() -> None:
    text = with_tables(PAGE, table)
    assert tables(text) == {"inspect": table("inspect")}
    assert "| `--data D` |" in text
    assert with_tables(text, table) == text


@pytest.mark.parametrize("name", ["method none", "none"])
def test_an_unknown_table_is_an_error(name: str) -> None:
    with pytest.raises(Exception, match="none"):
        table(name)


def test_a_diff_is_applied_hunk_by_hunk() -> None:
    text = "one\ntwo\nthree\nfour\n"
    assert changed(text, " one\n+and a half\n two\n@@\n-four\n+five\n") == "one\nand a half\ntwo\nthree\nfive\n"


@pytest.mark.parametrize("hunk", [" six\n+seven\n", " one\n+two\n"])
def test_a_hunk_that_does_not_fit_once_is_an_error(hunk: str) -> None:
    with pytest.raises(ValueError, match="times, not once"):
        changed("one\none\n", hunk)


def test_a_block_without_a_prompt_has_no_commands() -> None:
    assert Block("console", "", "just text\n").commands == []
