"""A Pareto front as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx_nepenthe.report.front import SAME_DATA
from onnx_nepenthe.report.json import plain
from onnx_nepenthe.report.page import render
from onnx_nepenthe.report.text import clean

TEMPLATE = "frontier.html.j2"
Row = Mapping[str, Any]


def page_of_front(record: Mapping[str, Any]) -> str:
    """A page from what `front.record_of_frontier` made; everything that comes from the model is escaped."""
    report = plain(record)
    return render(
        TEMPLATE,
        _charts(report),
        report=report,
        title=clean(report["model"]),
        headline=_headline(report["points"]),
        note=SAME_DATA,
        missing=_missing(report["missing"]),
    )


def _headline(points: list[Row]) -> str:
    fastest = max(points, key=lambda point: point["latency"]["speedup"])
    count = f"{len(points)} model{'' if len(points) == 1 else 's'} to pick from"
    best = f"up to {fastest['latency']['speedup']:.2f}× as fast"
    price = "without loss" if fastest["drop"] <= 0 else f"for {fastest['drop']:.2f} points"
    return f"{count}, {best} {price}"


def _missing(missing: list[Row]) -> list[tuple[str, str]]:
    """Budgets that are not on the front, by reason."""
    reasons = dict.fromkeys(one["reason"] for one in missing)
    return [(clean(why), ", ".join(f"{m['allowed']:g}" for m in missing if m["reason"] == why)) for why in reasons]


def _charts(report: Row) -> dict[str, Any]:
    value = report["input"]["metric_value"]
    return {
        "front": {
            "metric": clean(report["metric"]),
            "input": value,
            "points": [
                {
                    "file": clean(point["file"]),
                    "value": point["metric_value"],
                    "worst": value - point["drop_high"],
                    "best": value - point["drop_low"],
                    **{name: point["latency"][name] for name in ("speedup", "low", "high")},
                }
                for point in report["points"]
            ],
        }
    }
