"""A made-up Pareto front."""

from __future__ import annotations

from dataclasses import replace

from onnx_nepenthe.frontier import Frontier, Missing, Point, front_of
from tests.helpers.outcomes import comparison, outcome, price


def point(drop: float, speedup: float, allowed: float | None) -> Point:
    cost = replace(price(), after=97.5 - drop, drop=drop, low=drop - 0.5, high=drop + 0.5)
    return Point(replace(outcome(), price=cost), cost, comparison(speedup), allowed)


def front(name: str = "net.onnx") -> Frontier:
    found = front_of(point(0.0, 1.1, None), [point(0.4, 1.3, 0.5), point(3.9, 2.4, 4.0)])
    first = found.points[0]
    inspection = replace(first.outcome.inspection, name=name)
    named = replace(first, outcome=replace(first.outcome, inspection=inspection))
    return replace(found, points=(named, *found.points[1:]), missing=(Missing(1.0, "why"), Missing(2.0, "why")))
