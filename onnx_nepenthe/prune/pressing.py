"""Which sites are pressed, and to where: numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.prune.records import Layer, SiteStatistics
from onnx_nepenthe.regimes import Average, FloatArray, Tie


@dataclass(frozen=True, eq=False)
class Skeleton:
    """An activation as the entropy sees it: pieces between knots, each with a slope.

    Attributes:
        knots: float64 (knots, channels), increasing.
        slopes: float64 (knots + 1, channels).
    """

    knots: FloatArray
    slopes: FloatArray

    @property
    def worth(self) -> FloatArray:
        """float64 (pieces, channels) in [0, 1]: how much signal a piece lets through, against the steepest one."""
        steepness = np.abs(self.slopes)
        most = steepness.max(axis=0)
        share: FloatArray = np.divide(steepness, most, out=np.zeros_like(steepness), where=most > 0)
        return share


def skeleton(activation: Activation, channels: int) -> Skeleton:
    """The pieces of `activation`; those before and after 0 where one of them is curved, as in `SiteStatistics.signs`.

    >>> from onnx_nepenthe.activations import Activation
    >>> gelu = Activation(knots=(-5.3, 5.3), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))
    >>> skeleton(gelu, 1).knots.tolist(), skeleton(gelu, 1).slopes.tolist()
    ([[0.0]], [[0.0], [1.0]])
    """
    lines, knots = activation.lines, activation.knots
    if None in lines:
        lines, knots = (lines[0] or (0.0, 0.0), lines[-1] or (1.0, 0.0)), (0.0,)
    slopes = [np.broadcast_to(np.asarray(line[0], np.float64), (channels,)) for line in lines if line is not None]
    ends = [np.broadcast_to(np.asarray(knot, np.float64), (channels,)) for knot in knots]
    return Skeleton(np.stack(ends) if ends else np.zeros((0, channels)), np.stack(slopes))


@dataclass(frozen=True, eq=False)
class Goal:
    """Where each channel of a site is driven to: z inside [low, high], both float64 (channels,)."""

    low: FloatArray
    high: FloatArray


def goal(activation: Activation, statistics: SiteStatistics, off_share: float) -> Goal:
    """Per channel the piece it is in most often; one without slope only when it is there at least `off_share`.

    Where no piece has a slope that is the piece it is in most often.
    """
    counts = statistics.states.with_ties("above")
    bones = skeleton(activation, counts.shape[1])
    share = counts / np.maximum(counts.sum(axis=0), 1)
    # A piece without slope competes with what it needs, so that half of off_share does not win against nothing.
    flat = bones.worth == 0
    settled = (share * flat).max(axis=0) >= off_share
    open_to = np.where(settled | flat.all(axis=0), True, ~flat)
    piece = np.where(open_to, share, -1.0).argmax(axis=0)
    ends = np.concatenate([np.full((1, counts.shape[1]), -np.inf), bones.knots, np.full((1, counts.shape[1]), np.inf)])
    own = np.arange(counts.shape[1])
    return Goal(ends[piece, own], ends[piece + 1, own])


def lowest(
    layers: Sequence[Layer], count: int, tie: Tie = "drop", average: Average = "non-degenerate"
) -> tuple[str, ...]:
    """Names of the `count` sites with the lowest entropy among those that are not lines yet, lowest first."""
    still = [layer for layer in layers if not layer.is_linear]
    ranked = sorted(still, key=lambda layer: layer.statistics.states.layer_entropy(tie, average))
    return tuple(layer.site.name for layer in ranked[:count])
