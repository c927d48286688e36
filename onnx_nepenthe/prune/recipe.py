"""How one training goes: a frozen record, and the learning rate it gives at every step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from onnx_nepenthe.errors import UsageError

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["step", "cosine", "constant"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class Recipe:
    """One full training. The defaults are the papers' for ResNet-18 on CIFAR-10, but for flip and crop, which only
    images can take (ALGORITHMS.md §4: SGD 0.9, 160 epochs, batch 128, 0.1, ×0.1 at 80 and 120, decay 1e-4).

    Attributes:
        epochs: passes over the training data; a fine-tuning may be less than one.
        batch: samples per optimiser step, over all processes and parts together, so that a recipe gives the same
            training on one device and on eight. Of a DataLoader the batch is its own, per process and part.
        lr: peak learning rate.
        optimiser: "sgd" (with `momentum`) or "adamw".
        momentum: of SGD.
        weight_decay: of everything but the rectifiers' own parameters.
        schedule: "step" (times `decay` at each of `milestones`), "cosine" (to 0) or "constant".
        milestones: shares of the training.
        decay: factor at each milestone.
        warm_up: epochs of linear rise from 0.
        precision: "no" (float32), "bf16" or "fp16" (GPU only), by autocast.
        accumulate: parts that a batch is computed in, one after another.
        clip: largest norm of all gradients together; None for none.
        seed: decides order, augmentation and every other random number.
        flip: images are mirrored half the time.
        crop: images are moved by up to this many pixels, zeros coming in.
        smoothing: of labels.
        frozen: share of the training, at its end, in which BatchNorms use their running statistics, as the exported
            network does; their own parameters still learn.
        vectors: biases and parameters of norms learn at this many times the rate; unless it is 1 they do not decay.
        workers: processes that read data which are not in memory.
    """

    epochs: float = 160
    batch: int = 128
    lr: float = 0.1
    optimiser: Optimiser = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Schedule = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = 0.1
    warm_up: float = 0.0
    precision: Precision = "no"
    accumulate: int = 1
    clip: float | None = None
    seed: int = 0
    flip: bool = False
    crop: int = 0
    smoothing: float = 0.0
    frozen: float = 0.0
    vectors: float = 1.0
    workers: int = 0

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise UsageError(f"recipe: {fault}")

    def _faults(self) -> Iterator[str]:
        for name in ("epochs", "batch", "lr", "accumulate", "vectors"):
            if not getattr(self, name) > 0:
                yield f"{name} is {getattr(self, name)}; it must be above 0"
        for name in ("weight_decay", "momentum", "warm_up", "seed", "crop", "workers"):
            if not getattr(self, name) >= 0:
                yield f"{name} is {getattr(self, name)}; it must be 0 or more"
        for name in ("smoothing", "frozen"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name} is {getattr(self, name)}; it must be at least 0 and below 1"
        if self.clip is not None and not self.clip > 0:
            yield f"clip is {self.clip}; it must be above 0"
        if not all(0 < share < 1 for share in self.milestones):
            yield f"milestones are {self.milestones}; they are shares of the training, between 0 and 1"
        if self.warm_up > self.epochs:
            yield f"warm_up is {self.warm_up} of {self.epochs} epochs; it must fit in them"
        if self.accumulate > self.batch:
            yield f"a batch of {self.batch} cannot be computed in {self.accumulate} parts"

    def rate(self, epoch: float) -> float:
        """Learning rate after `epoch` epochs (fractions count).

        >>> recipe = Recipe(epochs=4, lr=1.0)
        >>> [recipe.rate(epoch) for epoch in (0, 1.9, 2, 3)]
        [1.0, 1.0, 0.1, 0.010000000000000002]
        """
        share = min(1.0, epoch / self.epochs)
        rise = min(1.0, epoch / self.warm_up) if self.warm_up else 1.0
        match self.schedule:
            case "step":
                factor = self.decay ** sum(share >= milestone for milestone in self.milestones)
            case "cosine":
                factor = 0.5 * (1 + math.cos(math.pi * share))
            case "constant":
                factor = 1.0
        return self.lr * rise * factor

    def is_frozen(self, epoch: float) -> bool:
        """Whether BatchNorms use their running statistics after `epoch` epochs (fractions count).

        >>> Recipe(epochs=4, frozen=0.25).is_frozen(2.9), Recipe(epochs=4, frozen=0.25).is_frozen(3)
        (False, True)
        """
        return epoch >= self.epochs * (1 - self.frozen)

    def short(self, epochs: float, scale: float = 1.0) -> Recipe:
        """The same for a fine-tuning of `epochs`: `scale` times the rate, falling to 0, up over the first twentieth."""
        return replace(self, epochs=epochs, lr=self.lr * scale, schedule="cosine", warm_up=epochs / 20)
