"""One training of the built-in trainer, from its first step to its last."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import Batch, Share, TrainingBatches, derived, seed_everything
from onnx_nepenthe.prune.distributed import summed, synchronise
from onnx_nepenthe.prune.losses import Pass
from onnx_nepenthe.prune.optimising import freeze_norms, optimiser_of, set_rate, tapped
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.training import Epoch, Job, Midway

LOG = logging.getLogger(__name__)
ROUNDING = 1e-6
Criterion = Callable[[Any, Tensor, float], Tensor]
"""(outputs, targets, label smoothing) → scalar."""
Score = Callable[[Any, Tensor], Tensor]
"""(outputs, targets) → one number a sample, the larger the better; their mean is what is called accuracy."""


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the largest output is the class, or the most probable one of the targets; one bool a sample."""
    classes = targets.argmax(dim=1) if targets.is_floating_point() else targets
    return outputs.argmax(dim=1) == classes


class Fitting:
    """A job in progress: the subject's module and an optimiser, prepared by an accelerator of their own."""

    def __init__(
        self,
        accelerator: Accelerator,
        subject: Subject,
        batches: TrainingBatches,
        job: Job,
        criterion: Criterion,
        share: Share,
    ) -> None:
        self._accelerator, self._subject, self._batches, self._job = accelerator, subject, batches, job
        self._criterion, self._share = criterion, share
        self._names = list(dict.fromkeys(name for term in job.terms for name in term.sites))
        self._plain = optimiser_of(subject, job.recipe)
        if job.midway is not None:
            self._plain.load_state_dict(dict(job.midway.optimiser))

    def run(self) -> tuple[Epoch, ...]:
        """The epochs, those before `job.midway` included."""
        module = self._subject.module
        before = set(vars(module))
        self._model, self._optimiser = self._accelerator.prepare(module, self._plain)
        scaler = self._job.midway.scaler if self._job.midway is not None else None
        if scaler is not None and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(dict(scaler))
        try:
            return self._epochs()
        finally:
            # Autocast wraps `forward` itself; what is counted and exported is the function without it.
            for name in set(vars(module)) - before:
                delattr(module, name)

    def _epochs(self) -> tuple[Epoch, ...]:
        recipe, midway = self._job.recipe, self._job.midway
        done = [] if midway is None else list(midway.epochs)
        for number in range(len(done), math.ceil(recipe.epochs)):
            done.append(self._epoch(number))
            if not math.isfinite(done[-1].loss):
                LOG.warning("epoch %d: the loss is %f; training stops", number + 1, done[-1].loss)
                break
            self._report(done)
        return tuple(done)

    def _epoch(self, number: int) -> Epoch:
        started, recipe, per_epoch = time.perf_counter(), self._job.recipe, self._batches.steps
        seed = seed_everything(derived(recipe.seed, self._job.number, self._job.phase, number))
        # Rounded down, so that a budget of epochs is kept.
        steps = min(per_epoch, max(1, math.floor((recipe.epochs - number) * per_epoch + ROUNDING)))
        self._model.train()
        losses, rate = [], 0.0
        with tapped(self._subject, self._names) as z:
            for step, parts in enumerate(islice(self._batches.epoch(seed), steps)):
                at = number + (step + 0.5) / per_epoch
                rate = recipe.rate(at)
                set_rate(self._optimiser, rate)
                if recipe.is_frozen(at):
                    freeze_norms(self._subject.module)
                losses.append(self._step(parts, z, at / recipe.epochs))
                self._subject.enforce()
        # One wait for the device an epoch.
        mean = float(summed(torch.stack(losses).mean(), self._share)) / self._share.processes
        return Epoch(number + 1, steps / per_epoch, mean, rate, time.perf_counter() - started)

    def _step(self, parts: Sequence[Batch], z: dict[str, Tensor], done: float) -> Tensor:
        total = torch.zeros((), device=self._accelerator.device)
        for at, batch in enumerate(parts):
            is_last = at == len(parts) - 1
            with nullcontext() if is_last else self._accelerator.no_sync(self._model):
                loss = self._loss(batch, z, done) / len(parts)
                self._accelerator.backward(loss)
            total += loss.detach()
        clip = self._job.recipe.clip
        if clip is not None:
            self._accelerator.clip_grad_norm_(self._model.parameters(), clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        return total

    def _loss(self, batch: Batch, z: dict[str, Tensor], done: float) -> Tensor:
        inputs, targets = batch
        if targets is None:
            raise UsageError("the training data have no targets")
        try:
            outputs = self._model(*inputs)
        # A BatchNorm needs two values a channel.
        except ValueError as error:
            hint = "take larger batches, or a DataLoader with drop_last=True"
            raise UsageError(
                f"the network cannot be trained on a batch of {len(inputs[0])}: {error}; {hint}"
            ) from error
        loss = self._criterion(outputs, targets, self._job.recipe.smoothing)
        with self._accelerator.autocast():
            for term in self._job.terms:
                loss = loss + term(Pass(inputs, outputs, z, done))
        return loss

    def _report(self, done: Sequence[Epoch]) -> None:
        if self._job.after_epoch is None:
            return
        # One process writes the checkpoint, and all go on from it.
        synchronise(self._subject.module, self._share)
        scaler = self._accelerator.scaler
        state = None if scaler is None else scaler.state_dict()
        self._job.after_epoch(Midway(tuple(done), self._plain.state_dict(), state))
