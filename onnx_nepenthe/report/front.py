"""A Pareto front as a table, a line and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from onnx_nepenthe.frontier import Frontier, Point
from onnx_nepenthe.outcome import Side
from onnx_nepenthe.report.grid import print_table, table_of
from onnx_nepenthe.report.json import environment_record, head, latency_record, plain, verification_record
from onnx_nepenthe.report.price import price_record
from onnx_nepenthe.report.text import clean, integer, plural, size

SAME_DATA = (
    "all models are judged on the same verification samples, so the best of them is a little lucky: keep a test set "
    "for `verify`"
)


def print_frontier(console: Console, front: Frontier) -> None:
    """One row per model, the input first."""
    price, side = front.exact.price, front.exact.outcome.inspection.side
    table = table_of(
        ("model", "left", 18),
        ("lost (95 %)", "right", 22),
        ("faster", "right", 6),
        ("rectifiers", "right", 10),
        ("depth", "right", 5),
        ("weights", "right", 8),
    )
    table.add_row("the input", "", "", *_sizes(side))
    for point in front.points:
        lost = f"{point.price.drop:.2f} ({point.price.low:.2f} to {point.price.high:.2f})"
        speed = f"{point.latency.speedup:.2f}x"
        table.add_row(clean(point.file), lost, speed, *_sizes(point.outcome.after))
    where = f"{plural(price.samples, 'verification sample')}, of which the input has {price.before:.2f}"
    print_table(console, f"To pick from (lost: points of {clean(price.metric)} on {where})", table)
    for reason in dict.fromkeys(missing.reason for missing in front.missing):
        allowed = ", ".join(f"{missing.allowed:g}" for missing in front.missing if missing.reason == reason)
        console.print(Text(f"no model of its own for {allowed} points: {clean(reason)}"))
    console.print(Text(f"note: {SAME_DATA}"))


def _sizes(side: Side) -> tuple[str, str, str]:
    return integer(side.rectifiers), integer(side.size.weighted_depth), size(side.size.weight_bytes)


def frontier_line(front: Frontier, folder: object) -> str:
    """What was written, from the safest to the fastest."""
    last = max(front.points, key=lambda point: point.latency.speedup)
    line = f"{folder} written: {plural(len(front.points), 'model')}, {front.exact.latency.speedup:.2f}x exact"
    if last is not front.exact:
        line += f" to {last.latency.speedup:.2f}x for {last.price.drop:.2f} points of {last.price.metric}"
    return clean(f"{line}; pick one")


def record_of_frontier(front: Frontier, *, message: str = "", command: str = "") -> dict[str, Any]:
    """What `frontier.json` and `--json` say."""
    inspection = front.exact.outcome.inspection
    side, price = inspection.side, front.exact.price
    before = {"metric_value": price.before, "latency_ms": front.exact.latency.before_ms}
    return {
        **head("pareto", inspection.name, message or SAME_DATA, command),
        "metric": price.metric,
        "samples": price.samples,
        "input": {**before, "rectifiers": side.rectifiers, **asdict(side.size)},
        "points": [_record(point) for point in front.points],
        "missing": [asdict(missing) for missing in front.missing],
        "options": plain(front.options),
        "environment": environment_record(inspection.environment),
    }


def _record(point: Point) -> dict[str, Any]:
    return {
        "file": point.file,
        "allowed": point.allowed,
        "collapsed": point.outcome.is_collapsed,
        "metric_value": point.price.after,
        "drop": point.price.drop,
        "drop_low": point.price.low,
        "drop_high": point.price.high,
        "latency": latency_record(point.latency) | {"measured": point.latency.pairs > 0},
        "rectifiers": point.outcome.after.rectifiers,
        **asdict(point.outcome.after.size),
        "verification": verification_record(point.outcome.verdict),
        "price": price_record(point.price),
    }
