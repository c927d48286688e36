"""Records of a Pareto front: the models among which nobody is better in every respect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.outcome import Outcome, Price

EXACT = "exact"
BEATEN = "its model is not clearly faster than one that costs no more points, bytes or depth"


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
    def costs(self) -> tuple[float, float, float]:
        """Drop in points, bytes of weights, weighted depth; less is better in each."""
        size = self.outcome.after.size
        return self.price.drop, float(size.weight_bytes), float(size.weighted_depth)

    def makes_idle(self, other: Point) -> bool:
        """Whether nobody would pick `other`: it costs no less in any respect and is not clearly faster."""
        is_cheaper = all(own <= its for own, its in zip(self.costs, other.costs, strict=True))
        return is_cheaper and other.latency.low <= self.latency.high


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
        points: the exact collapse, then the others by what they cost.
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


def front_of(exact: Point, others: Sequence[Point]) -> Frontier:
    """The exact collapse, which is always kept as it alone promises the same numbers, and what adds something to it.

    Speeds whose intervals meet count as equal, as the next timing may turn them round.
    """
    kept = [exact]
    missing = []
    for point in sorted(others, key=lambda point: (*point.costs, -point.latency.speedup)):
        if any(one.makes_idle(point) for one in kept):
            missing.append(Missing(point.allowed or 0.0, BEATEN))
            continue
        kept.append(point)
    return Frontier(tuple(replace(p, file=_file(at, p)) for at, p in enumerate(kept)), tuple(missing))


def _file(at: int, point: Point) -> str:
    drop = round(point.price.drop, 2) + 0.0
    return f"{at:02d}-{EXACT}.onnx" if point.allowed is None else f"{at:02d}-drop{drop:g}.onnx"
