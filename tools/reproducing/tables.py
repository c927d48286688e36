"""Rows as tables: mean ± standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import mean, stdev

from reproducing.runs import Row

METHODS = (
    "| method | test accuracy | change | zero-entropy or linear | gone after collapse | weighted depth | speed-up "
    "| weights gone | trainings | CPU s |\n|---|---|---|---|---|---|---|---|---|---|"
)
PAIR = "| method | weights gone | test accuracy | PSP-entropy, bits | sharpness |\n|---|---|---|---|---|"


def methods(rows: Sequence[Row]) -> str:
    """The dense network, and one line per method."""
    lines = [METHODS, _dense(rows)]
    for name, own in _by_method(rows):
        sites, shipped = own[0].sites, [row.shipped for row in own if row.shipped is not None]
        cells = [
            name,
            spread([100 * one.accuracy for one in shipped], 1, " %"),
            spread([100 * (row.shipped.accuracy - row.dense) for row in own if row.shipped is not None], 1),
            f"{spread([row.zero for row in own], 1)} of {sites}",
            f"{spread([one.gone for one in shipped], 1)} of {sites}",
            f"{shipped[0].depth_before} → {spread([one.depth for one in shipped], 1)}",
            f"{spread([one.speedup for one in shipped], 2)}×",
            spread([100 * row.sparsity for row in own], 0, " %"),
            spread([row.trainings for row in own], 1),
            spread([row.cpu_s for row in own], 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _dense(rows: Sequence[Row]) -> str:
    """Every method starts from the same dense training of its seed."""
    accuracy = {row.seed: 100 * row.dense for row in rows}
    depth = next(row.shipped.depth_before for row in rows if row.shipped is not None)
    return f"| dense | {spread([*accuracy.values()], 1, ' %')} | | | | {depth} | | | 1.0 | |"


def pair(rows: Sequence[Row]) -> str:
    """Methods beside each other at equal sparsity: what is left in the features, and how sharp the minimum is."""
    lines = [PAIR]
    for name, own in _by_method(rows):
        cells = [
            name,
            spread([100 * row.sparsity for row in own], 1, " %"),
            spread([100 * row.test for row in own], 1, " %"),
            spread([row.psp for row in own], 3),
            spread([row.sharpness for row in own], 4),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


MOST_COLUMNS = 16


def curve(row: Row) -> str:
    """PQ index and validation accuracy after each round; means of several rounds where there are many."""
    size = -(-len(row.pq) // MOST_COLUMNS)
    cuts = [slice(at, at + size) for at in range(0, len(row.pq), size)]
    ends = [(cut.start, min(cut.stop, len(row.pq)) - 1) for cut in cuts]
    names = [str(first) if first == last else f"{first}–{last}" for first, last in ends]
    numbers = [f"{mean(row.pq[cut]):.3f}" for cut in cuts]
    shares = [f"{100 * mean(row.accuracy[cut]):.1f}" for cut in cuts]
    head = f"| {'round' if size == 1 else 'rounds'} | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    return f"{head}\n| PQ index | {' | '.join(numbers)} |\n| validation accuracy, % | {' | '.join(shares)} |"


def spread(values: Sequence[float], digits: int, unit: str = "") -> str:
    """Mean ± standard deviation; the mean alone for a single value or where all are equal.

    >>> spread([1.0, 3.0], 1, " %"), spread([2.0], 1)
    ('2.0 ± 1.4 %', '2.0')
    """
    if len(values) < 2 or max(values) == min(values):
        return f"{mean(values):.{digits}f}{unit}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}{unit}"


def _by_method(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    order = list(dict.fromkeys(row.method for row in rows))
    ordered = sorted(rows, key=lambda row: (order.index(row.method), row.seed))
    return [(name, list(own)) for name, own in groupby(ordered, key=lambda row: row.method)]
