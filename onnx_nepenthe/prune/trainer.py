"""The built-in trainer, on Hugging Face Accelerate: a CPU, a GPU, or as many as `accelerate launch` is told of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
from accelerate import Accelerator
from torch import nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import Batch, Data, Loaded, Shuffled, TrainingBatches, in_order, resident
from onnx_nepenthe.prune.distributed import own_share, summed, synchronise
from onnx_nepenthe.prune.fitting import Criterion, Fitting, Score, top1
from onnx_nepenthe.prune.losses import task_loss
from onnx_nepenthe.prune.modes import evaluating
from onnx_nepenthe.prune.optimising import place
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.training import Epoch, Job


class Trainer:
    """The built-in training and evaluation.

    Attributes:
        recipe: of a full training.
        device: where the subject and its data are.
        share: of the work, that is this process's.
    """

    can_tune = True

    def __init__(
        self, recipe: Recipe, *, criterion: Criterion = task_loss, score: Score = top1, cpu: bool = False
    ) -> None:
        """With `cpu` no accelerator is used even where there is one.

        Raises:
            UsageError: a precision that the device, or another trainer of this process, does not admit.
        """
        self.recipe, self._criterion, self._score, self._cpu = recipe, criterion, score, cpu
        self.device: torch.device = self._accelerator().device
        if recipe.precision == "fp16" and self.device.type == "cpu":
            raise UsageError("precision fp16 needs a GPU; take bf16 or no")
        self.share = own_share()
        self._resident: list[tuple[Data, Data]] = []

    def batches(self, data: Data) -> Iterator[Batch]:
        """This process's share of the data, in order, for counting; over all processes each sample comes once."""
        return in_order(self._kept(data), 2 * self.recipe.batch, self.device, self.share)

    def train(self, subject: Subject, data: Data, job: Job) -> tuple[Epoch, ...]:
        """Trains in place and returns its epochs; it stops early, and says so in the log, when the loss is not finite.

        Masks are enforced after every step of the optimiser. Ends in evaluation mode, equal on all processes.

        Raises:
            UsageError: too few data, or data without targets.
        """
        place(subject, self.device)
        # One for each training: it holds on to whatever it has prepared.
        accelerator = self._accelerator()
        batches = self._training_batches(data, job.recipe, accelerator)
        done = Fitting(accelerator, subject, batches, job, self._criterion, self.share).run()
        synchronise(subject.module, self.share)
        subject.module.eval()
        return done

    def evaluate(self, module: nn.Module, data: Data) -> float:
        """Mean score over all samples: the accuracy, a share of 1."""
        return self._mean(module, data, self._score)

    def loss(self, module: nn.Module, data: Data, samples: int | None = None) -> float:
        """Mean loss of the task, without smoothing, over about the first `samples` (whole batches; all when None)."""
        return self._mean(module, data, lambda outputs, targets: self._criterion(outputs, targets, 0.0), samples)

    def test(self, module: nn.Module, data: Data | None) -> float | None:
        """Accuracy on test data; None where there are none."""
        return None if data is None else self.evaluate(module, data)

    @torch.no_grad()
    def _mean(self, module: nn.Module, data: Data, number: Score, samples: int | None = None) -> float:
        total, module = torch.zeros(2, dtype=torch.float64), module.to(self.device)
        count = None if samples is None else self._own_batches(math.ceil(samples / (2 * self.recipe.batch)))
        with evaluating(module):
            for inputs, targets in islice(self.batches(data), count):
                if targets is None:
                    raise UsageError("the data have no targets; accuracy and loss need them")
                found = number(module(*inputs), targets).cpu().double()
                total += torch.stack([found.mean() * len(targets), torch.tensor(len(targets)).double()])
        score, size = summed(total.to(self.device), self.share).tolist()
        if not size:
            raise UsageError("there are no samples to evaluate on")
        return float(score / size)

    def _own_batches(self, total: int) -> int:
        """How many of the first `total` batches are this process's."""
        return len(range(self.share.rank, total, self.share.processes))

    def _kept(self, data: Data) -> Data:
        for given, kept in self._resident:
            if given is data:
                return kept
        self._resident.append((data, resident(data, self.device)))
        return self._resident[-1][1]

    def _training_batches(self, data: Data, recipe: Recipe, accelerator: Accelerator) -> TrainingBatches:
        kept = self._kept(data)
        if not isinstance(kept, torch.utils.data.DataLoader):
            return Shuffled(kept, recipe, self.device, self.share)
        if self.share.processes > 1:
            kept = accelerator.prepare_data_loader(kept, device_placement=False)
        return Loaded(kept, recipe, self.device)

    def _accelerator(self) -> Accelerator:
        try:
            return Accelerator(mixed_precision=self.recipe.precision, cpu=self._cpu)
        except ValueError as error:
            raise UsageError(f"precision {self.recipe.precision}: {' '.join(str(error).split())}") from error
