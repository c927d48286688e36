"""Progress: how far, and how long it will take."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from onnx_nepenthe.report.console import Bars


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([(0, None)], ["reading", "0 s"]),
        ([(0, 3)], ["timing", "0 of 3, 0 s"]),
        ([(0, 3), (1, 3)], ["timing", "1 of 3, ", " left"]),
        ([(0, 1500), (300, 1500), (600, 1500)], ["measuring", "600 of 1,500, ", " left"]),
    ],
)
def test_a_bar_shows_what_is_left_where_the_end_is_known(steps: list[tuple[int, int | None]], words: list[str]) -> None:
    stream = io.StringIO()
    with Bars(Console(file=stream, force_terminal=True, width=80, color_system=None)) as bars:
        for done, total in steps:
            bars(words[0], done, total)
    last = [line for line in stream.getvalue().replace("\r", "\n").splitlines() if words[0] in line][-1]
    assert [word for word in words if word not in last] == []
