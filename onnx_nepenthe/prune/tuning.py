"""How a training between two rounds differs from a full one, and what is added to its loss; plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx_nepenthe.errors import UsageError

Surrogate = Literal["soft", "normal", "straight-through", "hinge"]
"""How the share of observations in a regime becomes differentiable; see `losses.EntropyPressure`."""


@dataclass(frozen=True)
class Pressure:
    """The entropy regulariser: drives channels of chosen sites into one regime.

    Source: ALGORITHMS.md §7; the surrogates and the hinge are ours.

    Attributes:
        weight: of the term in the loss, at the end of a training.
        start: share of the weight that a training begins with; it rises by the same factor at every step.
        layers: how many of the sites with the lowest entropy are pressed, where a method does not name them.
        surrogate: "soft": sigmoid of the distance from a knot, in standard deviations of the channel; "normal": the
            closed form after a BatchNorm ("soft" where none stands directly before the site); "straight-through":
            exact shares, gradients of "soft"; "hinge": what is not `margin` away from a knot.
        temperature: of the sigmoid, in standard deviations.
        off_share: a channel is driven to OFF only when it is OFF at least this often; otherwise to ON, which keeps
            the signal.
        clamp: shares nearer to 0 or 1 are not driven further.
        margin: of the hinge, in standard deviations.
        distance: of the hinge, in units of z: from the knots at least, where the margin is less.
    """

    weight: float = 0.1
    layers: int = 1
    surrogate: Surrogate = "soft"
    temperature: float = 0.25
    off_share: float = 0.85
    clamp: float = 1e-4
    margin: float = 1.0
    start: float = 1.0
    distance: float = 0.0

    def weight_after(self, done: float) -> float:
        """Weight of the term when a share `done` of the training lies behind.

        >>> [round(Pressure(weight=0.1, start=0.01).weight_after(done), 4) for done in (0, 0.5, 1)]
        [0.001, 0.01, 0.1]
        """
        return float(self.weight * self.start ** (1 - done))

    def __post_init__(self) -> None:
        if not 0.5 <= self.off_share < 1:
            raise UsageError(f"pressure: off_share is {self.off_share}; it must be at least 0.5 and below 1")
        if not 0 < self.clamp < 0.5:
            raise UsageError(f"pressure: clamp is {self.clamp}; it must be between 0 and 0.5")
        if not self.distance >= 0:
            raise UsageError(f"pressure: distance is {self.distance}; it must be 0 or more")
        if not 0 < self.start <= 1:
            raise UsageError(f"pressure: start is {self.start}; it must be above 0 and at most 1")
        if not (self.weight > 0 and self.temperature > 0 and self.margin > 0 and self.layers > 0):
            raise UsageError("pressure: weight, layers, temperature and margin must be above 0")


@dataclass(frozen=True)
class Distillation:
    """Learning from the dense network: weight · T² · KL(its softmax at temperature T, ours), besides the task.

    Source: Hinton, Vinyals, Dean (arXiv 1503.02531).

    Attributes:
        weight: of the term; the task's loss keeps its weight of 1.
        temperature: T.
    """

    weight: float = 1.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not (self.weight > 0 and self.temperature > 0):
            raise UsageError("distillation: weight and temperature must be above 0")


@dataclass(frozen=True)
class Tuning:
    """A training between two rounds.

    Attributes:
        epochs: of it; None for a full training by the recipe.
        scale: peak learning rate as a share of the recipe's, where `epochs` is given; it falls to 0 along a cosine.
        frozen: share of it, at its end, in which BatchNorms use their running statistics; None for the recipe's.
        press: names of the sites that `pressure` is on.
        pressure: None for none.
        distillation: None for none.
    """

    epochs: float | None = None
    scale: float = 1.0
    press: tuple[str, ...] = ()
    pressure: Pressure | None = None
    distillation: Distillation | None = None
    frozen: float | None = None

    def __post_init__(self) -> None:
        if self.frozen is not None and not 0 <= self.frozen < 1:
            raise UsageError(f"tuning: frozen is {self.frozen}; it must be at least 0 and below 1")


def last_tuning(epochs: float, *, narrow: bool = False) -> Tuning:
    """The fine-tuning after padding has moved; a longer way back, with the dense network's help, after narrowing.

    >>> last_tuning(5).scale, last_tuning(5, narrow=True).scale
    (0.1, 0.5)
    """
    return Tuning(epochs, 0.5, distillation=Distillation(0.5)) if narrow else Tuning(epochs, 0.1)
