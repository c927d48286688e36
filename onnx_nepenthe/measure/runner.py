"""Add up counting runs, batch by batch; go over to more careful or narrower counting when the data ask for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.observed import UNDECIDED, exact_pieces
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.probe import Taps, Target, What, build_probe, has_peaks
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.measure.counting import Run, needs_care
from onnx_nepenthe.measure.ends import counts_from_ends
from onnx_nepenthe.measure.following import Need, counts_from_peaks, need_of
from onnx_nepenthe.measure.job import COUNTS_BYTES, Job
from onnx_nepenthe.providers import plain_name
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.session import Session, open_session
from onnx_nepenthe.sources import Batch
from onnx_nepenthe.sums import LineSums

LOG = logging.getLogger(__name__)
Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
SMALLEST_TO_CUT = 4


class Runner:
    """Adds up batches.

    Attributes:
        counts, lines, classes, seen: by rectifier key, so far.
        partial: rectifiers with counts that are lower bounds.
        skipped: by rectifier key, samples of incomplete batches that could not be told from the padding.
        returned_bytes: what all runs handed back, so far.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._active = job.targets
        self._careful: set[str] = set()
        self._ends = {t.key for t in job.targets if t.knots} if job.collect.scan else set()
        self._peaks: set[str] = set()
        self.counts = {t.key: RegimeCounts.empty(len(t.knots) + 1, t.channels) for t in job.targets}
        self.lines = {t.key: LineSums.empty(t.channels) for t in job.targets if job.collect.lines}
        self.classes = {t.key: ClassCounts() for t in job.targets if job.collect.classes and t.value in job.rows}
        self.seen = {t.key: 0 for t in job.targets}
        self.partial: set[str] = set()
        self.skipped: dict[str, int] = {}
        self.returned_bytes = 0
        self._session, self._taps = self._open()

    @property
    def is_settled(self) -> bool:
        """Whether nothing that data could still tell is open."""
        return not self._active

    def add(self, batch: Batch, feeds: Feeds, *, padded: bool) -> None:
        """Count one batch.

        Args:
            batch: its labels and its number of samples.
            feeds: of the batch, with more samples at the end if `padded`.
            padded: count the first `batch.size` rows only.

        Raises:
            UsageError: labels are wanted and missing.
        """
        if self._job.may_cut and self._job.collect.scan and not any(self.seen.values()) and not batch.whole:
            for part in _head_and_tail(batch):
                if not self.is_settled:
                    self._add(part, part.feeds, padded=False)
        else:
            self._add(batch, feeds, padded)

    def _add(self, batch: Batch, feeds: Feeds, padded: bool) -> None:
        for run in self._runs(batch, feeds, padded):
            key = run.taps.target.key
            if padded and not run.taps.rows:
                self.skipped[key] = self.skipped.get(key, 0) + batch.size
                continue
            self._count(run, key)
            self.seen[key] += batch.size
            if run.taps.lines:
                self.lines[key] += run.lines()
            if key in self.classes:
                self.classes[key] += run.classes(_labels(batch, run))
        if self._job.collect.scan:
            self._narrow()

    def _runs(self, batch: Batch, feeds: Feeds, padded: bool) -> list[Run]:
        """Run until no target asks for another way of counting; each does so twice at most."""
        while True:
            names = [name for taps in self._taps for name in taps.names]
            held = self._session.run_bound(feeds, names)
            results = {name: value.read() for name, value in zip(names, held, strict=True)}
            self.returned_bytes += sum(result.nbytes for result in results.values())
            runs = [Run(taps, results, batch.size if padded else None) for taps in self._taps]
            suspects = {r.taps.target.key for r in runs if not r.taps.careful and needs_care(r.taps, results)}
            on_knots = {r.taps.target.key for r in runs if r.taps.is_ends and self._lies_on_knot(r, padded)}
            if not suspects | on_knots:
                return runs
            LOG.debug("counting %d rectifiers in 64 bits, %d in full", len(suspects), len(on_knots))
            self._careful |= suspects
            self._ends -= suspects | on_knots
            self._session, self._taps = self._open()

    def _lies_on_knot(self, run: Run, padded: bool) -> bool:
        """Whether a channel that may yet be a line needs its ties counted."""
        if padded and not run.taps.rows:
            return False
        target = run.taps.target
        counts, is_exact = counts_from_ends(run)
        pieces = exact_pieces(self._job.rectifiers[target.key].activation, self.counts[target.key] + counts)
        return bool(((pieces != UNDECIDED) & ~is_exact).any())

    def _count(self, run: Run, key: str) -> None:
        if run.taps.peak:
            self.counts[key] += counts_from_peaks(run, self._job.rectifiers[key].activation)
            return
        if not run.taps.is_ends:
            self.counts[key] += run.counts()
            return
        counts, is_exact = counts_from_ends(run)
        self.counts[key] += counts
        if not is_exact.all():
            self.partial.add(key)

    def _narrow(self) -> None:
        """Look at less, once that changes half of what is looked at in full."""
        needs = {target.key: self._need(target) for target in self._active}
        heavy = [target for target in self._active if target.key not in self._peaks]
        lighter = [target for target in heavy if needs[target.key] != "ends"]
        gone = [target for target in self._active if needs[target.key] == "nothing"]
        if 2 * len(lighter) < max(len(heavy), 1) and 2 * len(gone) < len(self._active):
            return
        self.partial |= {target.key for target in (*lighter, *gone)}
        self._peaks |= {target.key for target in lighter if needs[target.key] == "peaks"}
        self._active = tuple(target for target in self._active if needs[target.key] != "nothing")
        LOG.debug("%d rectifiers left to scan, %d by their results alone", len(self._active), len(self._peaks))
        if self._active:
            self._session, self._taps = self._open()

    def _need(self, target: Target) -> Need:
        proved = self._job.proved.get(target.key, np.zeros(target.channels, bool))
        need = need_of(self._job.rectifiers[target.key].activation, self.counts[target.key], proved)
        return "ends" if need == "peaks" and not has_peaks(self._job.view, target) else need

    def _open(self) -> tuple[Session, tuple[Taps, ...]]:
        job = self._job
        what = What(
            careful=self._careful,
            ends=self._ends,
            peaks=self._peaks,
            lines=self.lines.keys(),
            rows=job.rows,
            bytewise=plain_name(job.config.provider) in COUNTS_BYTES,
        )
        probe = build_probe(job.model, job.view, self._active, what)
        return open_session(probe.model, job.config), probe.taps


def _head_and_tail(batch: Batch) -> list[Batch]:
    """The first sample, and the others."""
    if batch.size < SMALLEST_TO_CUT:
        return [batch]
    cuts = (slice(None, 1), slice(1, None))
    parts = [{name: array[cut] if array.ndim else array for name, array in batch.feeds.items()} for cut in cuts]
    return [Batch(part, None, size) for part, size in zip(parts, (1, batch.size - 1), strict=True)]


def _labels(batch: Batch, run: Run) -> npt.NDArray[np.int64]:
    if batch.labels is None:
        raise UsageError("counts by class need labels, and the data have none; add an array called labels")
    if batch.labels.ndim != 1 or batch.size != len(batch.labels):
        raise UsageError("counts by class need one class number per sample; these labels are something else")
    if run.samples is None and run.shape[0] != batch.size:
        raise UsageError(f"{run.taps.target.value} does not hold one entry per sample, so it has no counts by class")
    return batch.labels
