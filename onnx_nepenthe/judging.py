"""How good a model is on parts of the data, beside the original."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.metrics import (
    Scores,
    default_metric,
    expected_loss,
    log_probabilities,
    metric_of,
    temperature_of,
)
from onnx_nepenthe.options import Options
from onnx_nepenthe.samples import batches_of
from onnx_nepenthe.scale import Loss
from onnx_nepenthe.session import open_session
from onnx_nepenthe.sources import Part
from onnx_nepenthe.verify import Batch

Array = npt.NDArray[Any]
KEPT_BYTES = 1 << 30
"""Of a part of the data; a larger one is read again whenever it is needed."""


@dataclass(frozen=True, eq=False)
class Known:
    """A batch, what the original makes of it, and the labels; without feeds where they are too large to keep."""

    feeds: Mapping[str, Array]
    outputs: list[Array]
    labels: Array | None
    size: int
    whole: bool
    rows: int


def by_sample(outputs: Sequence[Array], size: int, rows: int) -> list[Array]:
    """Outputs with an entry a sample: the first `size` of `rows`, of which the others are padding.

    What is about one sample only (its boxes, say, however many) is an entry of its own.

    >>> [a.shape for a in by_sample([np.zeros((4, 2)), np.zeros((3, 7))], 3, 4)]
    [(3, 2), (3, 7)]
    >>> [a.shape for a in by_sample([np.zeros((1, 2)), np.zeros((5, 4)), np.zeros(())], 1, 1)]
    [(1, 2), (1, 5, 4), (1,)]

    Raises:
        UsageError: an output that does not tell the samples of a batch apart.
    """
    found = []
    for output in map(np.asarray, outputs):
        if output.ndim and len(output) in (size, rows):
            found.append(output[:size])
        elif rows == 1:
            found.append(output[None])
        else:
            raise UsageError(
                f"an output of the model does not tell samples apart: its shape is {output.shape} for a batch of "
                f"{rows}; give --batch 1, so that each sample is judged by itself"
            )
    return found


def _rows(batch: Batch) -> int:
    """How many samples the model sees, padding included; a whole feed is one."""
    lengths = [len(array) for array in batch.feeds.values() if array.ndim]
    return 1 if batch.whole else batch.size if batch.size in lengths else max(lengths, default=batch.size)


@dataclass
class Judge:
    """Scores models in points.

    Attributes:
        findings: of the original.
        options: of the run.
        metric: name of the metric; set when the first scores are taken.
    """

    findings: Findings
    options: Options
    metric: str = ""
    _known: dict[Part, list[Known]] = field(default_factory=dict)

    def scores(self, model: Model, part: Part) -> Scores:
        """Points per sample of `model` on a part of the data."""
        self.known(part)
        return np.concatenate([self._points(outputs, known) for known, outputs in self._runs(model, part)])

    def original_scores(self, part: Part) -> Scores:
        """Points per sample of the original, from its kept outputs."""
        return np.concatenate([self._points(known.outputs, known) for known in self.known(part)])

    def loss(self, model: Model, limit: int | None = None) -> Loss:
        """What `model` loses on the tuning data, the first `limit` of them at most."""
        return self.loss_of((outputs for _, outputs in self._runs(model, "tuning", limit)))

    def loss_of(self, made: Iterable[list[Array]]) -> Loss:
        """The same from the outputs, batch by batch in the order of the tuning data; fewer batches are fine."""
        tuning = self.known("tuning")
        measure = metric_of("kl" if self.metric in ("top1", "agreement") else "error")
        found: list[tuple[Scores, Scores, Scores]] = []
        for known, given in zip(tuning, made, strict=False):
            outputs = by_sample(given, known.size, known.rows)
            drop = self._points(known.outputs, known) - self._points(outputs, known)
            smooth = expected_loss(outputs, known.outputs, self._temperature) if self.metric == "top1" else drop
            found.append((drop, smooth, 100.0 - measure(outputs, known.outputs, known.labels)))
        drops, expected, distances = (np.concatenate(column) for column in zip(*found, strict=True))
        error = float(expected.std() / np.sqrt(expected.size))
        return Loss(float(drops.mean()), float(expected.mean()), float(distances.mean()), error)

    @cached_property
    def _temperature(self) -> float:
        """Of the original's class probabilities, on the tuning data."""
        known = self.known("tuning")
        scores = np.concatenate([log_probabilities(one.outputs) for one in known])
        return temperature_of(scores, np.concatenate([np.asarray(one.labels).reshape(-1) for one in known]))

    def batches(self, part: Part, limit: int | None = None) -> Iterator[Known]:
        """The batches of a part with their feeds, the first of them that have `limit` samples."""
        known = self.known(part)
        feeds = (batch.feeds for batch in known)
        if known and not known[0].feeds:
            feeds = (batch.feeds for batch in self._read(part))
        done = 0
        for batch, fed in zip(known, feeds, strict=True):
            if limit is not None and done >= limit:
                return
            done += batch.size
            yield replace(batch, feeds=fed)

    def known(self, part: Part) -> list[Known]:
        """The batches of a part with the outputs of the original.

        Raises:
            UsageError: there are none.
        """
        if part not in self._known:
            session = open_session(self.findings.model, self.options.config)
            found: list[Known] = []
            room = KEPT_BYTES
            for batch in self._read(part):
                rows = _rows(batch)
                outputs = by_sample(session.run(batch.feeds), batch.size, rows)
                kept = batch.feeds if room > 0 else {}
                found.append(Known(kept, outputs, batch.labels, batch.size, batch.whole, rows))
                self.metric = self.metric or self.options.metric or default_metric(outputs, batch.labels)
                room -= sum(array.nbytes for array in batch.feeds.values())
                if room <= 0:
                    found = [replace(known, feeds={}) for known in found]
            if not found:
                raise UsageError(f"the data have too few samples for a {part} part; give more")
            self._known[part] = found
        return self._known[part]

    def _read(self, part: Part) -> Iterator[Batch]:
        limits = {"verification": self.options.price_limit, "tuning": self.options.tune_limit}
        return batches_of(self.findings, self.options, part, limits.get(part))

    def _runs(self, model: Model, part: Part, limit: int | None = None) -> Iterator[tuple[Known, list[Array]]]:
        session = open_session(model, self.options.config)
        for known in self.batches(part, limit):
            yield known, by_sample(session.run(known.feeds), known.size, known.rows)

    def _points(self, outputs: list[Array], known: Known) -> Scores:
        return metric_of(self.metric)(outputs, known.outputs, known.labels)
