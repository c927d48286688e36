"""A Pareto front as a picture: speed across, the metric up, intervals as bars. SVG, needs nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnx_nepenthe.frontier import Frontier, Point
from onnx_nepenthe.report import text

TEMPLATE = "frontier.svg.j2"
WIDTH, LEFT, RIGHT, TOP, DEPTH = 720, 76, 24, 56, 300
"""Pixels: of the picture, around the field, and of the field's height."""
ROW = 22
TICKS = 6


@dataclass(frozen=True)
class Axis:
    """Values along one side of the field.

    Attributes:
        low, high: ends.
        start, end: pixels of the ends.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value, at most at the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, label) at round values.

        >>> [label for _, label in Axis(0.96, 1.31, 0, 100).ticks()]
        ['1', '1.1', '1.2', '1.3']
        """
        step = _step((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step - 1e-9)
        values = [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [(self.at(value), f"{value:.6g}") for value in values]


def _step(rough: float) -> float:
    """The next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def plot_of(front: Frontier) -> str:
    """The picture, with a table of its points below the field."""
    price = front.exact.price
    shown = [_numbers(point) for point in front.points]
    speeds = [1.0, *(value for row in shown for value in row[:3])]
    scores = [price.before, *(value for row in shown for value in row[3:])]
    x = Axis(*_ends(speeds), LEFT, WIDTH - RIGHT)
    y = Axis(*_ends(scores), TOP + DEPTH, TOP)
    environment = Environment(
        loader=PackageLoader("onnx_nepenthe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        width=WIDTH,
        height=TOP + DEPTH + 84 + ROW * len(front.points),
        field=(LEFT, TOP, WIDTH - RIGHT, TOP + DEPTH),
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        origin=(x.at(1.0), y.at(price.before)),
        marks=[
            {
                "at": (x.at(row[0]), y.at(row[3])),
                "across": (x.at(row[1]), x.at(row[2])),
                "up": (y.at(row[4]), y.at(row[5])),
                "words": _words(point),
            }
            for point, row in zip(front.points, shown, strict=True)
        ],
        title=text.shorten(front.exact.outcome.inspection.name, 80),
        metric=text.shorten(price.metric, 40),
        samples=text.plural(price.samples, "verification sample"),
        row=ROW,
    )
    return page + "\n"


def _numbers(point: Point) -> tuple[float, float, float, float, float, float]:
    """Speed-up and its interval, metric and its interval."""
    price, latency = point.price, point.latency
    return latency.speedup, latency.low, latency.high, price.after, price.before - price.high, price.before - price.low


def _ends(values: list[float]) -> tuple[float, float]:
    """A little more room than the values take.

    >>> _ends([1.0, 2.0]), _ends([5.0, 5.0])
    ((0.95, 2.05), (4.95, 5.05))
    """
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room


def _words(point: Point) -> tuple[str, ...]:
    """Cells of the table: file, what it loses, its speed, rectifiers, depth, size."""
    price, after = point.price, point.outcome.after
    return (
        text.clean(point.file),
        f"{price.drop:.2f} points lost ({price.low:.2f} to {price.high:.2f})",
        f"{point.latency.speedup:.2f}×",
        text.plural(after.rectifiers, "rectifier"),
        f"depth {after.size.weighted_depth}",
        text.size(after.size.weight_bytes),
    )
