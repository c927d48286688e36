"""Tables and lines on a console, within its width."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnx_nepenthe.report.text import shorten

PLACES = 3


def print_line(console: Console, line: str) -> None:
    """A line that wraps between words on a terminal, and stays one for whoever reads it from a pipe."""
    console.print(Text(line), soft_wrap=not console.is_terminal)


def print_table(console: Console, title: str, table: Table) -> None:
    """The table under its title, after an empty line."""
    console.print()
    console.print(Text(title, style="bold"))
    console.print(table)


def table_of(*columns: tuple[str, str, int | None]) -> Table:
    """Columns as (heading, "left" or "right", width or None for what is left)."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading, side, width in columns:
        table.add_column(heading, justify="right" if side == "right" else "left", width=width, overflow="fold")
    return table


def places(labels: Sequence[str], width: int, most: int = PLACES) -> str:
    """The first labels one below the other, and how many more there are.

    >>> places(["conv1", "bn1", "relu1", "conv2"], 20, most=2)
    'conv1\\nbn1\\nand 2 more'
    """
    if len(labels) == most + 1:
        most += 1
    lines = [shorten(label, width) for label in labels[:most]]
    return "\n".join(lines + ([f"and {len(labels) - most} more"] if len(labels) > most else []))
