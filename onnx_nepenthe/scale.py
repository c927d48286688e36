"""What a smooth distance between outputs says about points of a metric, and how far to believe either.

Points are counted on few samples, so that small drops are mostly noise and the best of many is the luckiest. Where
labels decide, most of that is luck with labels, and what the original's calibrated probabilities expect is taken for
the count (`metrics.expected_loss`). The Kullback-Leibler divergence from the original's outputs (or the error) is
smoother still, but only points are promised. Over all that was measured, points are about in proportion to the
distance; how far they stray from that beyond their own noise says how much of a single count to believe (empirical
Bayes).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

FAR = 20.0
"""Distances above say nothing about small ones: points cannot grow as they do."""
STRAY = (0.15, 2.0)
"""Least and largest share of the prediction by which true drops are taken to stray from it."""


@dataclass(frozen=True)
class Loss:
    """One model against the original, on tuning data.

    Attributes:
        drop: points lost.
        expected: points to be expected to be lost on such samples, without the luck of their labels.
        distance: of its outputs, see `metrics`; 0 for the same.
        error: standard error of `expected`.
    """

    drop: float
    expected: float
    distance: float
    error: float


@dataclass
class Scale:
    """Points per unit of distance, from all losses so far."""

    _seen: list[Loss] = field(default_factory=list)

    def learn(self, loss: Loss) -> None:
        """Take one more into account."""
        self._seen.append(loss)

    @property
    def slope(self) -> float:
        """Points per unit; a ratio of sums, as the variance of points grows with the distance. Never below 0."""
        near = self._near()
        return max(0.0, sum(one.expected for one in near) / max(sum(one.distance for one in near), 1e-30))

    @property
    def stray(self) -> float:
        """Standard deviation of true drops from the prediction, relative to it."""
        near, slope = self._near(), self.slope
        beyond = sum((one.expected - slope * one.distance) ** 2 - one.error**2 for one in near)
        predicted = sum((slope * one.distance) ** 2 for one in near)
        return float(np.clip(np.sqrt(max(0.0, beyond) / max(predicted, 1e-30)), *STRAY))

    def points(self, loss: Loss) -> float:
        """The drop to expect on other data, at least 0.

        >>> scale = Scale()
        >>> scale.learn(Loss(0.0, 4.0, 8.0, 0.0))
        >>> scale.points(Loss(0.0, 3.0, 4.0, 1e-9)), round(scale.points(Loss(0.0, 3.0, 4.0, 1e9)), 3)
        (3.0, 2.0)
        """
        expected = self.slope * loss.distance
        stray = (self.stray * expected) ** 2
        trust = stray / (stray + loss.error**2) if stray + loss.error**2 > 0 else 1.0
        return max(0.0, expected + trust * (loss.expected - expected))

    def _near(self) -> list[Loss]:
        near = [one for one in self._seen if one.distance <= FAR]
        return near or self._seen
