"""Measure: regime counts of every rectifier in one streaming pass over the data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.probe import Taps, Target, What, build_probe, why_not_countable
from onnx_nepenthe.graph.samples import values_with_samples
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.measure.record import Measurement
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.session import Session, SessionConfig, open_session
from onnx_nepenthe.sources import Batch, Part, Source

_DEFAULT = SessionConfig()
LOG = logging.getLogger(__name__)
Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
Progress = Callable[[int], None]
"""Called with the number of samples done so far."""
EXACT_FLOAT_COUNT = 1 << 24
"""A float count below it was exact at every step of its sum."""


def measure(
    model: Model,
    rectifiers: Sequence[Rectifier],
    source: Source,
    *,
    config: SessionConfig = _DEFAULT,
    batch: int = 32,
    limit: int | None = None,
    part: Part = "all",
    progress: Progress | None = None,
) -> Measurement:
    """Count the regimes of `rectifiers` over `source`; the result depends neither on `batch` nor on order.

    Args:
        model: not changed.
        rectifiers: of this model.
        source: the data.
        config: how to run.
        batch: samples per run; a model for batches of one fixed size overrides it.
        limit: at most so many samples.
        part: which part of the data, see `sources.split`.
        progress: told after every run.

    Raises:
        UnsupportedError: onnxruntime cannot run the model, or its opset is older than 7.
        UnreadableError, UsageError: from the source.
    """
    view = view_from_model(model)
    targets, notes = _targets(view, rectifiers)
    settings = {"provider": config.provider, "optimise": str(config.optimise)}
    if not targets:
        return Measurement({}, 0, tuple(sorted(notes)), digest(model), settings)
    fed = [name for name in view.inputs if name not in model.graph.initializers]
    fixed = fixed_batch([view.tensors[name] for name in fed])
    rows = values_with_samples(model, {t.value for t in targets}, fixed) if fixed and fixed > 1 else frozenset()
    run = _Run(model, view, targets, rows, config)
    samples = 0
    for piece in source.batches(fixed or batch, part, limit):
        run.add(piece, fixed)
        samples += piece.size
        if progress is not None:
            progress(samples)
    labels = {r.key: r.label for r in rectifiers}
    notes |= {f"{labels[key]}: {n} samples of incomplete batches not counted" for key, n in run.skipped.items()}
    return Measurement(run.counts, samples, tuple(sorted(notes)), digest(model), settings)


def fixed_batch(inputs: Iterable[Tensor]) -> int | None:
    """The one batch size that the model takes; None when any, or when its inputs state several.

    >>> fixed_batch([Tensor("x", (8, 3)), Tensor("mask", (8,))]), fixed_batch([Tensor("x", ("N", 3))])
    (8, None)
    """
    sizes = {tensor.shape[0] for tensor in inputs if tensor.shape and isinstance(tensor.shape[0], int)}
    return sizes.pop() if len(sizes) == 1 else None


def padded(feeds: Feeds, size: int, batch: int) -> dict[str, Array]:
    """`feeds` with the last of its `size` samples repeated up to `batch`; scalars stay."""
    missing = batch - size
    return {
        name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if array.ndim else array
        for name, array in feeds.items()
    }


def _targets(view: GraphView, rectifiers: Sequence[Rectifier]) -> tuple[list[Target], set[str]]:
    targets, notes = [], set()
    for rectifier in rectifiers:
        channels = rectifier.channels if rectifier.axis is not None else None
        knots = tuple(np.asarray(knot, np.float64) for knot in rectifier.activation.knots)
        axis = rectifier.axis if channels else None
        target = Target(rectifier.key, rectifier.operand, knots, axis, channels or 1)
        reason = why_not_countable(view, target)
        if reason:
            notes.add(f"{rectifier.label}: not measured, {reason}")
        else:
            targets.append(target)
    return targets, notes


class _Run:
    """Adds up batches; goes over to exact 64-bit counting where a target needs it, and stays there."""

    def __init__(
        self, model: Model, view: GraphView, targets: Sequence[Target], rows: frozenset[str], config: SessionConfig
    ) -> None:
        self._model, self._view, self._targets, self._rows, self._config = model, view, targets, rows, config
        self._careful: set[str] = set()
        self._session, self._taps = self._open()
        self.counts = {t.key: RegimeCounts.empty(len(t.knots) + 1, t.channels) for t in targets}
        self.skipped: dict[str, int] = {}

    def _open(self) -> tuple[Session, tuple[Taps, ...]]:
        probe = build_probe(self._model, self._view, self._targets, What(careful=self._careful, rows=self._rows))
        return open_session(probe.model, self._config), probe.taps

    def add(self, batch: Batch, fixed: int | None) -> None:
        """Count one batch, padded when the model takes `fixed` samples and there are fewer."""
        pad = fixed is not None and batch.size < fixed and not batch.whole
        feeds = padded(batch.feeds, batch.size, fixed) if pad and fixed is not None else batch.feeds
        results = self._fetch(feeds)
        suspects = {t.target.key for t in self._taps if not t.careful and _needs_care(t, results)}
        if suspects:
            LOG.debug("counting %d rectifiers in 64 bits (NaN, or 2^24 elements)", len(suspects))
            self._careful |= suspects
            self._session, self._taps = self._open()
            results = self._fetch(feeds)
        for taps in self._taps:
            key = taps.target.key
            if pad and not taps.rows:
                self.skipped[key] = self.skipped.get(key, 0) + batch.size
            else:
                self.counts[key] += _counts(taps, results, batch.size if pad else None)

    def _fetch(self, feeds: Feeds) -> dict[str, Array]:
        names = [name for taps in self._taps for name in taps.names]
        return dict(zip(names, self._session.run(feeds, names), strict=True))


def _needs_care(taps: Taps, results: Feeds) -> bool:
    if np.isnan(results[taps.total]).any():
        return True
    return any(results[name].max(initial=0) >= EXACT_FLOAT_COUNT for name in (*taps.above, *taps.below))


def _counts(taps: Taps, results: Feeds, samples: int | None) -> RegimeCounts:
    """Counts of one run, of its first `samples` samples when given.

    #(a < z < b) = #(z > a) - #(z >= b), and #(z >= b) = #numbers - #(z < b).
    """
    target = taps.target
    shape = [int(size) for size in results[taps.shape]]
    if target.axis is not None and shape[target.axis] != target.channels:
        raise UnsupportedError(
            f"{target.value} has {shape[target.axis]} channels in this run and {target.channels} by its stated shape"
        )

    def taken(name: str) -> Array:
        return results[name].reshape(-1, target.channels)[:samples]

    def count(name: str) -> npt.NDArray[np.int64]:
        total: npt.NDArray[np.int64] = taken(name).astype(np.int64).sum(axis=0)
        return total

    runs = 1 if samples is None else samples
    elements = int(np.prod(shape if samples is None else shape[1:], dtype=np.int64)) // target.channels * runs
    numbers = count(taps.valid) if taps.valid else np.full(target.channels, elements, np.int64)
    above = [numbers, *(count(name) for name in taps.above)]
    below = [*(count(name) for name in taps.below), numbers]
    inside = np.stack([over - (numbers - under) for over, under in zip(above, below, strict=True)])
    ties = [numbers - over - under for over, under in zip(above[1:], below, strict=False)]
    for at, (knot, following) in enumerate(pairwise(target.knots)):
        # Where two knots coincide, z on them is one tie, not two, and nothing lies between.
        ties[at + 1] = np.where(knot == following, 0, ties[at + 1])
    unknown = numbers < elements
    return RegimeCounts(
        np.maximum(inside, 0),
        np.stack(ties) if ties else np.zeros((0, target.channels), np.int64),
        np.where(unknown, -np.inf, taken(taps.low).min(axis=0).astype(np.float64)),
        np.where(unknown, np.inf, taken(taps.high).max(axis=0).astype(np.float64)),
        int((elements - numbers).sum()),
    )
