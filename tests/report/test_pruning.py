"""A pruning in the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from onnx_nepenthe.report.pruning import print_pruning
from onnx_nepenthe.report.pruning_page import page_of_pruning
from tests.helpers.made_pruning import entry, pruning
from tests.helpers.outcomes import HOSTILE
from tests.helpers.page import Page

DENSE = entry(0, 0.98, (0.9, 0.8), phase="dense")
ROUND = entry(1, 0.97, (0.0, 0.4), linear=["_1"])
FAILED = entry(2, 0.8, (0.0, 0.4), phase="settle", narrowed=["a.conv2", "b.conv2"], is_accepted=False)
NARROWED = entry(3, 0.96, (0.0, 0.4), phase="settle", narrowed=[HOSTILE], linear=["_1"])


def printed(*rounds: dict[str, object], chosen: int) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False, emoji=False, markup=False)
    print_pruning(console, pruning(rounds=rounds, chosen=chosen))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_was_narrowed_is_said_of_the_network_that_is_kept() -> None:
    text = printed(DENSE, ROUND, FAILED, NARROWED, chosen=3)
    assert [line.split()[0] for line in text.splitlines() if " %  " in line][:4] == ["dense", "1", "narrow", "narrow"]
    (line,) = [line for line in text.splitlines() if "centre tap" in line]
    assert line.startswith("1 convolution narrowed to the centre tap: ")
    assert "\x1b" not in text
    assert "b.conv2" not in text
    page = Page(page_of_pruning(pruning(rounds=[DENSE, ROUND, FAILED, NARROWED], chosen=3)))
    assert "1 convolution narrowed to the centre tap: " in page.text
    assert "\x1b" not in page.source


def test_where_nothing_was_narrowed_nothing_is_said() -> None:
    text = printed(DENSE, ROUND, FAILED, chosen=1)
    assert "narrowed to" not in text
    settled = entry(2, 0.96, (0.0, 0.4), phase="settle")
    assert [line.split()[0] for line in printed(DENSE, ROUND, settled, chosen=2).splitlines() if " %  " in line][2] == (
        "last"
    )
