"""What the loop does in each of its steps; it remembers nothing itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from onnx_nepenthe.prune.batches import Splits
from onnx_nepenthe.prune.checkpoint import Pending, Progress, State
from onnx_nepenthe.prune.distributed import merged, summed
from onnx_nepenthe.prune.entropy import EntropyPressure
from onnx_nepenthe.prune.losses import FoldPenalty, Teacher, Term
from onnx_nepenthe.prune.methods.base import Context, Method
from onnx_nepenthe.prune.narrowing import narrow
from onnx_nepenthe.prune.pressing import lowest
from onnx_nepenthe.prune.records import BoolArray, Layer, Note, Proposal
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.rounds import TOLERANCE, Round, state_of
from onnx_nepenthe.prune.sensitivity import sensitivities
from onnx_nepenthe.prune.settings import Settings
from onnx_nepenthe.prune.snapshot import rewind
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.tap import Statistics, measure
from onnx_nepenthe.prune.training import Epoch, Job, Midway, Training
from onnx_nepenthe.prune.tuning import Tuning

LOG = logging.getLogger(__name__)
PHASES = {"dense": 0, "round": 0, "polish": 0, "fold": 1, "settle": 2}
"""Number of the phase among the trainings of its round, for their random numbers."""

NARROWINGS = 3
"""How often narrowing is tried: all runs, half of them, a quarter."""


def diverged(epochs: Sequence[Epoch]) -> bool:
    """Whether a training stopped because its loss was not finite."""
    return bool(epochs) and not math.isfinite(epochs[-1].loss)


@dataclass(frozen=True, eq=False)
class Workbench:
    """What a run is about: see `loop.run`."""

    subject: Subject
    method: Method
    config: Any
    data: Splits
    training: Training
    settings: Settings

    def rectifiers(self, mode: str) -> list[Rectifier]:
        """Those of all sites that compute in this mode."""
        found = [self.subject.rectifier(site.name) for site in self.subject.sites]
        return [rectifier for rectifier in found if rectifier.mode == mode]

    def lines(self) -> tuple[str, ...]:
        """Names of the sites that are lines."""
        return tuple(rectifier.site.name for rectifier in self.rectifiers("line"))

    def measured(self) -> Statistics:
        """Counts over all training data, of all processes together."""
        return measure(
            self.subject,
            self.training.batches(self.data.train),
            device=self.training.device,
            by_class="classes" in self.method.needs,
            sums="sums" in self.method.needs,
            reduce=partial(merged, share=self.training.share),
        )

    def proposal(self, number: int, statistics: Statistics, progress: Progress) -> Proposal:
        """What the method wants done in round `number`."""
        changes = self._sensitivities(statistics) if "sensitivity" in self.method.needs else None
        recipe = self.training.recipe
        # The dense training counts even when somebody else did it, and so does what is still to come for certain.
        extra = (recipe.epochs if self.settings.is_trained else 0.0) + self.settings.settle_epochs
        context = Context(
            round=number,
            rounds=self.settings.rounds,
            rng=np.random.default_rng([recipe.seed, number]),
            dense_epochs=recipe.epochs,
            spent=progress.spent + extra,
            history=tuple(entry.attempt for entry in progress.rounds[1:]),
        )
        layers = self.subject.layers(statistics, changes)
        proposal: Proposal = self.method.propose(self.config, layers, context)
        return replace(proposal, tuning=self._tuning(proposal, layers))

    def exceeds(self, spent: float, next_: float = 0.0) -> bool:
        """Whether so many epochs, the next ones and the last fine-tuning are more than may be."""
        most = self.settings.max_epochs
        return most is not None and spent + next_ + self.settings.settle_epochs > most

    def unaffordable(self, spent: float, epochs: float | None) -> str:
        """Why no round of so many epochs, a full training without a number, may begin; "" when it may."""
        most, last = self.settings.max_epochs, self.settings.settle_epochs
        next_ = self.training.recipe.epochs if epochs is None else epochs
        if most is None or not self.exceeds(spent, next_):
            return ""
        then = f", the last fine-tuning {last:g}" if last else ""
        return f"{spent:g} of {most:g} epochs are spent, and the next round takes {next_:g}{then}"

    def apply(self, proposal: Proposal, statistics: Statistics, initial: State) -> None:
        """Masks, lines and channels off; shares of the identity that did not become lines are given up."""
        self.subject.apply(proposal, statistics)
        for rectifier in self.rectifiers("fold"):
            rectifier.set_active()
        if self.method.start == "rewind":
            rewind(self.subject, initial)

    def narrow(self, tries: int) -> tuple[str, ...]:
        """Narrows linear runs, after each try half as many; the names of the convolutions that were narrowed."""
        if not self.settings.narrow or tries >= NARROWINGS:
            return ()
        samples = self.settings.sensitivity_samples // self.training.share.processes
        found = narrow(
            self.subject,
            lambda: _some(self.training.batches(self.data.train), samples),
            partial(summed, share=self.training.share),
            share=0.5**tries,
        )
        if not found and not tries and self.training.share.rank == 0:
            LOG.warning("nothing to narrow: no linear run has a later wide convolution padded by half its kernel")
        return tuple(one.conv for one in found)

    def fold(self) -> None:
        """Every prunable site that is no line computes a mixture with the identity, whose share is trained."""
        for site in self.subject.prunable():
            if not self.subject.is_linear(site.name):
                self.subject.rectifier(site.name).set_fold()

    def job(
        self,
        pending: Pending,
        midway: Midway | None,
        after_epoch: Callable[[float, Midway], None],
        statistics: Statistics,
        dense: nn.Module | None,
    ) -> Job:
        """The training that is pending.

        Args:
            pending: what it is for.
            midway: where to go on.
            after_epoch: called with the epochs that it takes, and where it is.
            statistics: of the last accepted network.
            dense: that network, to learn from; None while it is trained itself.
        """
        tuning, recipe = pending.tuning or Tuning(), self.training.recipe
        if tuning.epochs is not None:
            recipe = recipe.short(tuning.epochs, tuning.scale)
        if tuning.frozen is not None:
            recipe = replace(recipe, frozen=tuning.frozen)
        terms = self._terms(pending.phase == "fold", tuning, statistics, dense)
        report = partial(after_epoch, recipe.epochs)
        return Job(recipe, pending.number, PHASES[pending.phase], terms, midway, report)

    def record(
        self, pending: Pending, statistics: Statistics, accuracy: float, theta: float, losses: Sequence[Epoch]
    ) -> Round:
        """Of the network as it is now."""
        has_diverged = diverged(losses)
        missing = 1.0 if has_diverged else theta - accuracy
        notes = [Note(*note) for note in pending.notes]
        if has_diverged:
            notes.append(Note("", f"the loss was not finite in epoch {losses[-1].number}: training stopped there"))
        return Round(
            pending.number,
            pending.phase,
            accuracy,
            is_accepted=missing <= TOLERANCE,
            missing=missing if missing > TOLERANCE else 0.0,
            continues=pending.continues,
            removed=pending.removed,
            narrowed=pending.narrowed,
            notes=tuple(notes),
            epochs=pending.before,
            losses=tuple(losses),
            **state_of(self.subject.layers(statistics), statistics, self.lines(), self.method),
        )

    def _sensitivities(self, statistics: Statistics) -> dict[str, float]:
        validation = self.data.validation if self.data.validation is not None else self.data.train
        samples = self.settings.sensitivity_samples
        loss = partial(self.training.loss, self.subject.module, validation, samples)
        return sensitivities(self.subject, statistics, loss, self._off(statistics))

    def _off(self, statistics: Statistics) -> dict[str, BoolArray]:
        """What the method would turn off at each site, were it the one that goes."""
        find = self.method.off
        return {} if find is None else {x.site.name: find(x) for x in self.subject.layers(statistics)}

    def _tuning(self, proposal: Proposal, layers: Sequence[Layer]) -> Tuning:
        tuning, asked = proposal.tuning or Tuning(), self.settings
        if tuning.pressure is None and asked.pressure is not None:
            left = [layer for layer in layers if layer.site.name not in proposal.linear]
            press = lowest(left, asked.pressure.layers, self.method.tie, self.method.average)
            tuning = replace(tuning, press=press, pressure=asked.pressure)
        if tuning.distillation is None:
            tuning = replace(tuning, distillation=asked.distillation)
        return tuning

    def _terms(self, is_folding: bool, tuning: Tuning, statistics: Statistics, dense: nn.Module | None) -> list[Term]:
        terms: list[Term] = []
        if is_folding:
            terms.append(FoldPenalty(self.rectifiers("fold"), self.config.strength))
        if tuning.pressure is not None and tuning.press:
            terms.append(EntropyPressure(self.subject, tuning.press, tuning.pressure, statistics))
        if tuning.distillation is not None and dense is not None:
            terms.append(Teacher(dense, tuning.distillation))
        return terms


def _some(batches: Iterable[Any], samples: int) -> Iterator[Any]:
    """Batches until there are so many samples, at least one."""
    for batch in batches:
        yield batch
        samples -= len(batch[0][0])
        if samples <= 0:
            return
