"""What the stages of the PyTorch half hand to each other; numpy only, so that methods are tested without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.prune.tuning import Tuning
from onnx_nepenthe.regimes import FloatArray, RegimeCounts
from onnx_nepenthe.sums import LineSums

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Site:
    """One call of a rectifier; a module that is called twice is two sites.

    Attributes:
        name: unique in its model, stable from run to run (the name of the call in the traced graph).
        label: for people: the module and, where it is called more than once, which call ("layer1.0.relu, call 2").
        op: as ONNX calls it ("Relu", "Gelu").
        activation: what it computes.
        axis: where the channels of z are, from 0 (1 for images, the last one for features).
        channels: how many.
        feeder: qualified name of the convolution or dense layer that makes z, through a norm, an addition of a skip or
            operations that only move elements; None when there is none.
        norm: qualified name of the BatchNorm between feeder and site; None when there is none.
        norm_is_last: whether z is the norm's result, so that its gamma and beta say how z is distributed (not so
            behind an addition).
        is_sum: whether z adds another value to what the feeder made (a skip): a slope other than 1 would then need an
            operator of its own, which the ReLU that it replaces did not.
        has_bypass: whether a signal still gets past the feeder when all its weights are zero (a skip around it).
    """

    name: str
    label: str
    op: str
    activation: Activation
    axis: int
    channels: int
    feeder: str | None = None
    norm: str | None = None
    norm_is_last: bool = False
    is_sum: bool = False
    has_bypass: bool = False


@dataclass(frozen=True, eq=False)
class SiteStatistics:
    """What was counted at one site over a whole data set.

    Attributes:
        counts: observations per regime and channel.
        classes: `states` apart for every class; None without labels.
        sums: of z and y, for the least-squares line; None when not asked for.
        samples: how many samples the observations come from.
        signs: observations below and above 0 where a piece of the activation is curved (Gelu, Silu); None elsewhere.
    """

    counts: RegimeCounts
    classes: ClassCounts | None = None
    sums: LineSums | None = None
    samples: int = 0
    signs: RegimeCounts | None = None

    @property
    def states(self) -> RegimeCounts:
        """What the entropy of the papers is of: the regimes, or the sign of z where a piece is curved.

        A Gelu's z is between its tails nearly always, so that its regimes say nothing of what the papers call state.
        """
        return self.counts if self.signs is None else self.signs


@dataclass(frozen=True, eq=False)
class Layer:
    """What a method sees of one prunable layer: a site and the weights that feed it.

    Attributes:
        site: the call.
        weight: float64 (out, in · taps), current values; masked ones are 0.
        mask: bool (out, in · taps), True where a weight is still there.
        statistics: counted on the training data.
        is_linear: the site has been replaced by a line already.
        gamma, beta: float64 (channels,) of the BatchNorm whose result z is; None without one (as behind a skip).
        fold: float64, the trained share of the identity (Layer Folding); None unless the method trains one.
        sensitivity: loss on validation data when this site alone becomes a line, minus the loss as it is; None unless
            the method asks for it.
    """

    site: Site
    weight: FloatArray
    mask: BoolArray
    statistics: SiteStatistics
    is_linear: bool = False
    gamma: FloatArray | None = None
    beta: FloatArray | None = None
    fold: float | None = None
    sensitivity: float | None = None

    @property
    def remaining(self) -> int:
        """Weights that are still there."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class Note:
    """What a guard prevented, or anything else a reader of the report should know.

    Attributes:
        layer: name of the site.
        reason: one line.
    """

    layer: str
    reason: str


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a method wants done before the next training.

    Attributes:
        masks: feeder → bool (out, in · taps), a subset of its mask so far.
        linear: names of the sites that become a line from now on.
        line: which line, for channels that were not in one exact piece all the time: the one fitted to `sums`, or the
            identity.
        off: site → bool (channels,), channels that become constant 0 from now on.
        notes: what guards prevented.
        done: why the method has nothing more to do; "" when it has.
        tuning: how the next training differs from a full one; None when it does not.
        continues: nothing is changed: the network that was taken back last is trained on from where it was.
        polishes: nothing is changed: the last accepted network is trained on, and kept unless its accuracy falls.
    """

    masks: Mapping[str, BoolArray] = field(default_factory=dict)
    linear: tuple[str, ...] = ()
    line: Literal["fitted", "identity"] = "fitted"
    off: Mapping[str, BoolArray] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    done: str = ""
    tuning: Tuning | None = None
    continues: bool = False
    polishes: bool = False


@dataclass(frozen=True)
class Attempt:
    """What became of a proposal.

    Attributes:
        linear: names of the sites that became a line.
        is_accepted: whether validation accuracy stayed at or above the threshold; if not, all of it was taken back.
        accuracy: on validation data, share of 1.
        epochs: what its training took.
        missing: how far that is below the threshold; 0 when it is not.
        continues: it was the attempt before, trained on.
    """

    linear: tuple[str, ...]
    is_accepted: bool
    accuracy: float
    epochs: float
    missing: float = 0.0
    continues: bool = False
