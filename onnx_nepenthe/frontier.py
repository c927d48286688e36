"""Records of a Pareto front: the models among which nobody is better in every respect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.outcome import Outcome, Price

EXACT = "exact"


@dataclass(frozen=True, eq=False)
class Point:
    """One model of a front.

    Attributes:
        outcome: how it was made; its `model` is None where that is the input itself.
        price: what it costs, on verification data.
        latency: the input against it.
        allowed: points that it was allowed to cost; None for the exact collapse.
        file: where it is written, in the folder of the front.
    """

    outcome: Outcome
    price: Price
    latency: Comparison
    allowed: float | None
    file: str = ""

    @property
    def aims(self) -> tuple[float, ...]:
        """Drop in points, time relative to the input's, bytes of weights, weighted depth; less is better in each."""
        size = self.outcome.after.size
        return (self.price.drop, 1.0 / self.latency.speedup, float(size.weight_bytes), float(size.weighted_depth))


@dataclass(frozen=True)
class Missing:
    """A budget that adds nothing to a front.

    Attributes:
        allowed: points.
        reason: why.
    """

    allowed: float
    reason: str


@dataclass(frozen=True, eq=False)
class Frontier:
    """What `collapse --pareto` writes.

    Attributes:
        points: the exact collapse, then the others by what they were allowed to cost.
        missing: budgets without a model of their own.
        options: how it was run, JSON-able.
    """

    points: tuple[Point, ...]
    missing: tuple[Missing, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> Point:
        """The first point."""
        return self.points[0]


def is_dominated(aims: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether one of the others is at least as good in every respect and better in one.

    >>> is_dominated((1.0, 1.0), [(1.0, 0.9)]), is_dominated((1.0, 1.0), [(1.0, 1.0), (0.5, 2.0)])
    (True, False)
    """
    return any(
        tuple(other) != tuple(aims) and all(o <= a for o, a in zip(other, aims, strict=True)) for other in others
    )


def front_of(exact: Point, others: Sequence[Point]) -> Frontier:
    """The exact collapse, which is always kept as it alone promises the same numbers, and what nobody dominates."""
    every = [exact.aims, *(point.aims for point in others)]
    kept = [point for point in others if not is_dominated(point.aims, every)]
    missing = [
        Missing(point.allowed or 0.0, "another model is at least as good in every respect")
        for point in others
        if point not in kept
    ]
    points = [exact, *sorted(kept, key=lambda point: point.allowed or 0.0)]
    return Frontier(tuple(replace(p, file=_file(at, p)) for at, p in enumerate(points)), tuple(missing))


def _file(at: int, point: Point) -> str:
    drop = round(point.price.drop, 2) + 0.0
    return f"{at:02d}-{EXACT}.onnx" if point.allowed is None else f"{at:02d}-drop{drop:g}.onnx"
