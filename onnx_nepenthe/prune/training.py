"""What a training is to the loop: a job in, epochs out; whoever does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import ALONE, Batch, Data, Share, derived, in_order, seed_everything
from onnx_nepenthe.prune.losses import Term
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.subject import Subject

COUNTING_BATCH = 256


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        number: from 1.
        share: of the training data that was gone through, 1 but for the last of a fractional training.
        loss: mean over its steps, with all terms.
        rate: learning rate at its end.
        seconds_s: it took.
    """

    number: int
    share: float
    loss: float
    rate: float
    seconds_s: float


@dataclass(frozen=True, eq=False)
class Midway:
    """What a training needs to go on after an epoch, besides the subject.

    Attributes:
        epochs: done so far.
        optimiser: its state dict.
        scaler: the state dict of fp16's loss scaling; None without it.
    """

    epochs: tuple[Epoch, ...]
    optimiser: Mapping[str, Any]
    scaler: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """One training.

    Attributes:
        recipe: how it goes.
        number: 0 for the dense training, otherwise the round.
        phase: which of the round's trainings; the random numbers of each are its own.
        terms: added to the loss of the task.
        midway: where to go on; None to start.
        after_epoch: called after each epoch; returns nothing.
    """

    recipe: Recipe
    number: int = 0
    phase: int = 0
    terms: Sequence[Term] = ()
    midway: Midway | None = None
    after_epoch: Callable[[Midway], None] | None = None


class Training(Protocol):
    """Trains and evaluates for the loop: `Trainer`, or `OwnTraining` around somebody's callables."""

    @property
    def recipe(self) -> Recipe:
        """Of a full training."""
        ...

    @property
    def share(self) -> Share:
        """Of the work, that is this process's."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the subject and its data are."""
        ...

    @property
    def can_tune(self) -> bool:
        """Whether a job's recipe and terms are heeded."""
        ...

    def batches(self, data: Data) -> Iterator[Batch]:
        """This process's share of the data, in order; over all processes each sample comes once."""
        ...

    def train(self, subject: Subject, data: Data, job: Job) -> tuple[Epoch, ...]:
        """Trains in place, masks enforced after every step of an optimiser."""
        ...

    def evaluate(self, module: nn.Module, data: Data) -> float:
        """Accuracy, or any number that is the better the larger it is."""
        ...

    def loss(self, module: nn.Module, data: Data, samples: int | None = None) -> float:
        """Mean loss over the first `samples` (all when None)."""
        ...

    def test(self, module: nn.Module, data: Data | None) -> float | None:
        """Accuracy on test data; None where there are none."""
        ...


class OwnTraining:
    """Somebody's own `train(module, round)` and `evaluate(module)`, with their own data, schedule and device.

    `evaluate` has to be on validation data, since pruning stops by it; `test` is called at the end only.
    A training counts as `epochs` epochs. Masks are enforced after every step of whatever torch optimiser it uses.
    Jobs' recipes and terms are not heeded, so that methods which ask for them are refused.
    """

    can_tune = False
    share = ALONE

    def __init__(
        self,
        train: Callable[[nn.Module, int], object],
        evaluate: Callable[[nn.Module], float],
        *,
        test: Callable[[nn.Module], float] | None = None,
        epochs: float = 1.0,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self._train, self._evaluate, self._test = train, evaluate, test
        self.recipe, self.device = Recipe(epochs=epochs, seed=seed), torch.device(device)

    def batches(self, data: Data) -> Iterator[Batch]:
        """All of the data, in order."""
        return in_order(data, COUNTING_BATCH, self.device)

    def train(self, subject: Subject, data: Data, job: Job) -> tuple[Epoch, ...]:
        """Calls `train` in training mode; torch, numpy and random start from a seed of the round's own."""
        seed_everything(derived(self.recipe.seed, job.number, job.phase))
        subject.module.train()
        with enforced(subject):
            self._train(subject.module, job.number)
        subject.enforce()
        subject.module.eval()
        return ()

    def evaluate(self, module: nn.Module, data: Data) -> float:
        """What `evaluate` returns."""
        return float(self._evaluate(module))

    def loss(self, module: nn.Module, data: Data, samples: int | None = None) -> float:
        """1 - accuracy: nothing else is known."""
        return 1.0 - self.evaluate(module, data)

    def test(self, module: nn.Module, data: Data | None) -> float | None:
        """What `test` returns; None without it."""
        return None if self._test is None else float(self._test(module))


@contextmanager
def enforced(subject: Subject) -> Iterator[None]:
    """Every step of any optimiser is followed by `subject.enforce()`."""

    def enforce(_optimiser: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> None:
        subject.enforce()

    handle = register_optimizer_step_post_hook(enforce)
    try:
        yield
    finally:
        handle.remove()


def require_tuning(training: Training, what: str) -> None:
    """Raises unless the training heeds a job's recipe and terms.

    Raises:
        UsageError: it does not.
    """
    if not training.can_tune:
        raise UsageError(f"{what} needs the built-in trainer; your own train() decides its loss and its length itself")
