"""The loop: train, count, propose, apply, train again, until accuracy on validation data falls under theta."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.archive import FAILED, INITIAL, Archive, of_round
from onnx_nepenthe.prune.batches import Splits
from onnx_nepenthe.prune.checkpoint import Checkpoint, Pending, Progress
from onnx_nepenthe.prune.distributed import wait
from onnx_nepenthe.prune.methods.base import Method
from onnx_nepenthe.prune.optimising import place
from onnx_nepenthe.prune.padding import move_padding
from onnx_nepenthe.prune.rounds import Event, Phase, Result, Round
from onnx_nepenthe.prune.settings import Settings, check, identity
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.tap import Statistics
from onnx_nepenthe.prune.training import Epoch, Midway, Training
from onnx_nepenthe.prune.workbench import Workbench, diverged

Tell = Callable[[Event], None]


def run(
    subject: Subject,
    method: Method,
    config: Any,
    data: Splits,
    training: Training,
    settings: Settings,
    tell: Tell | None = None,
) -> Result:
    """Prunes `subject` in place; at the end it is in the state of the last round at or above theta.

    Args:
        subject: with its initial weights, or trained ones (`settings.is_trained`).
        method: an entry of `METHODS`.
        config: of the method.
        data: test data are looked at once, at the end.
        training: a `Trainer`, or an `OwnTraining` around callables.
        settings: theta, rounds, checkpoint.
        tell: called after every epoch and round, in the first of several processes only.

    Raises:
        UsageError: things that do not go together, a checkpoint of another run, or a dense training that diverges.
        UnreadableError: a damaged checkpoint.
    """
    check(method, settings, data, training)
    if method.fits is not None:
        method.fits(config, subject.prunable())
    place(subject, training.device)
    return _Loop(Workbench(subject, method, config, data, training, settings), tell).run()


class _Loop:
    """What has been, what is pending, and the networks to come back to."""

    _dense: nn.Module | None = None
    _statistics: Statistics

    def __init__(self, bench: Workbench, tell: Tell | None) -> None:
        self._bench, self._subject, self._training = bench, bench.subject, bench.training
        is_first, folder = bench.training.share.rank == 0, bench.settings.checkpoint
        self._tell = tell if tell is not None and is_first else lambda _event: None
        own = (bench.subject, bench.method, bench.config, bench.settings, bench.data, bench.training)
        checkpoint = None if folder is None else Checkpoint(folder, identity(*own))
        self._archive, self._progress = Archive(checkpoint, writes=is_first), Progress()
        self._since = time.perf_counter()

    def run(self) -> Result:
        pending = self._open()
        while pending is not None:
            pending = self._after(pending, self._train(pending))
        return self._result()

    def _open(self) -> Pending | None:
        """What to train first."""
        found = self._archive.found(resume=self._bench.settings.resume)
        # Nobody writes before everybody has looked.
        wait(self._training.share)
        if found is not None:
            return self._resumed(found)
        self._initial = self._good = self._failed = self._archive.keep(INITIAL, self._subject)
        if not self._bench.settings.is_trained:
            return self._begin(Pending("dense", 0))
        self._close(Pending("dense", 0), ())
        return self._next()

    def _resumed(self, progress: Progress) -> Pending | None:
        self._progress, recall = progress, self._archive.recall
        self._initial = self._good = self._failed = recall(INITIAL)
        if progress.rounds:
            self._subject.load_state_dict(recall(of_round(0)))
            self._dense = copy.deepcopy(self._subject.module)
            self._good = recall(of_round(progress.good))
            self._subject.load_state_dict(self._good)
            self._statistics = self._bench.measured()
            is_retried = self._bench.method.retries and not progress.rounds[-1].is_accepted
            self._failed = recall(FAILED) if is_retried else self._failed
        if progress.pending is None:
            return self._next()
        assert progress.subject is not None
        self._since -= sum(epoch.seconds_s for epoch in progress.midway.epochs) if progress.midway else 0.0
        self._subject.load_state_dict(progress.subject)
        return progress.pending

    def _begin(self, pending: Pending) -> Pending:
        self._save(pending)
        return pending

    def _save(self, pending: Pending | None, midway: Midway | None = None) -> None:
        self._progress = replace(self._progress, pending=pending, subject=None, midway=midway)
        self._archive.save(self._progress, self._subject)

    def _train(self, pending: Pending) -> tuple[Epoch, ...]:
        statistics = self._statistics if self._progress.rounds else {}
        report = partial(self._after_epoch, pending)
        job = self._bench.job(pending, self._progress.midway, report, statistics, self._dense)
        return self._training.train(self._subject, self._bench.data.train, job)

    def _after_epoch(self, pending: Pending, epochs: float, midway: Midway) -> None:
        self._save(pending, midway)
        self._tell(Event(pending.phase, pending.number, epochs, epoch=midway.epochs[-1]))

    def _after(self, pending: Pending, epochs: Sequence[Epoch]) -> Pending | None:
        """What to train next; None when the loop has ended."""
        if pending.phase == "dense" and diverged(epochs):
            raise UsageError(
                f"the loss of the dense network was not finite in epoch {epochs[-1].number}; "
                f"lower the learning rate, {self._training.recipe.lr:g}, or give it a warm-up"
            )
        took = sum(epoch.share for epoch in epochs) if epochs else self._training.recipe.epochs
        self._progress = replace(self._progress, spent=self._progress.spent + took)
        if pending.phase == "fold":
            return self._propose(pending.number, self._bench.measured(), took)
        self._close(replace(pending, before=pending.before + took), epochs)
        return self._next()

    def _next(self) -> Pending | None:
        number, settings = len(self._progress.rounds), self._bench.settings
        dense = self._progress.rounds[0]
        if not dense.is_accepted:
            self._end(f"the dense network is at {dense.accuracy:.4f}, below theta, {self._theta:.4f}")
        if self._end(f"all {settings.rounds} rounds are done" if number > settings.rounds else ""):
            return self._settle(number)
        if "fold" not in self._bench.method.needs:
            return self._propose(number, self._statistics, 0.0)
        if self._end(self._bench.unaffordable(self._progress.spent, None)):
            return self._settle(number)
        self._bench.fold()
        return self._begin(Pending("fold", number))

    def _propose(self, number: int, statistics: Statistics, before: float) -> Pending | None:
        proposal = self._bench.proposal(number, statistics, self._progress)
        tuning = proposal.tuning
        epochs = tuning.epochs if tuning is not None else None
        if self._end(proposal.done or self._bench.unaffordable(self._progress.spent, epochs)):
            self._subject.load_state_dict(self._good)
            return self._settle(number)
        notes = tuple((note.layer, note.reason) for note in proposal.notes)
        if proposal.continues:
            self._subject.load_state_dict(self._failed)
        elif not proposal.polishes:
            self._bench.apply(proposal, statistics, self._initial)
        phase: Phase = "polish" if proposal.polishes else "round"
        return self._begin(Pending(phase, number, proposal.linear, notes, tuning, before, proposal.continues))

    def _settle(self, number: int) -> Pending | None:
        """A last fine-tuning with runs narrowed and padding moved, where there is any; with fewer after a failure."""
        bench, last = self._bench, self._progress.rounds[-1]
        tries = sum(entry.phase == "settle" for entry in self._progress.rounds)
        is_done = (bool(tries) and (last.is_accepted or not last.narrowed)) or bench.exceeds(self._progress.spent)
        if bench.settings.settle is not None and not is_done and bench.lines():
            narrowed = bench.narrow(tries)
            if move_padding(self._subject, narrowed) or narrowed:
                return self._begin(Pending("settle", number, tuning=bench.settings.settle, narrowed=narrowed))
        self._save(None)
        return None

    def _end(self, reason: str) -> bool:
        """Whether there is a reason to end: this one, unless there was one before; "" is none."""
        self._progress = replace(self._progress, reason=self._progress.reason or reason)
        return bool(self._progress.reason)

    @property
    def _theta(self) -> float:
        return self._bench.settings.theta.of(self._progress.rounds[0].accuracy)

    def _close(self, pending: Pending, epochs: Sequence[Epoch]) -> None:
        """Judges the network as it is after its training, and takes it back if it is not good enough."""
        validation = self._bench.data.validation
        accuracy = self._training.evaluate(
            self._subject.module, validation if validation is not None else self._bench.data.train
        )
        rounds, statistics = self._progress.rounds, self._bench.measured()
        least = self._bench.settings.theta.of(rounds[0].accuracy if rounds else accuracy)
        if pending.phase == "polish":
            least = max(least, rounds[self._progress.good].accuracy)
        entry = self._bench.record(pending, statistics, accuracy, least, epochs)
        entry, self._since = replace(entry, seconds_s=time.perf_counter() - self._since), time.perf_counter()
        self._keep(entry, statistics)
        self._save(None)
        self._tell(Event(pending.phase, pending.number, round=entry))

    def _keep(self, entry: Round, statistics: Statistics) -> None:
        self._progress = replace(self._progress, rounds=(*self._progress.rounds, entry))
        if not entry.number:
            self._dense = copy.deepcopy(self._subject.module)
        if entry.is_accepted or not entry.number:
            self._good, self._statistics = self._archive.keep(of_round(entry.number), self._subject), statistics
            self._progress = replace(self._progress, good=entry.number)
            return
        if self._bench.method.retries:
            self._failed = self._archive.keep(FAILED, self._subject)
        else:
            self._end(f"round {entry.number} fell to {entry.accuracy:.4f}, below theta, {self._theta:.4f}")
        self._subject.load_state_dict(self._good)

    def _result(self) -> Result:
        progress, test = self._progress, self._bench.data.test
        assert self._dense is not None
        return Result(
            method=self._bench.method.name,
            theta=self._theta,
            rounds=progress.rounds,
            chosen=progress.good,
            reason=progress.reason,
            epochs=progress.spent,
            seconds_s=sum(entry.seconds_s for entry in progress.rounds),
            dense_test=self._training.test(self._dense, test),
            test=self._training.test(self._subject.module, test),
            dense_network=self._dense,
        )
