"""Measure: regime counts of every rectifier in one streaming pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.graph.probe import Target, why_not_countable
from onnx_nepenthe.graph.samples import values_with_samples
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.measure.ends import BoolArray
from onnx_nepenthe.measure.following import has_floor
from onnx_nepenthe.measure.job import Collect, Job
from onnx_nepenthe.measure.record import Measurement
from onnx_nepenthe.measure.runner import Runner
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.providers import plain_name
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources import Part, Source

_DEFAULT, _COUNTS = SessionConfig(), Collect()
Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
Progress = Callable[[int], None]
"""Called with the number of samples done so far."""


def measure(
    model: Model,
    rectifiers: Sequence[Rectifier],
    source: Source,
    *,
    config: SessionConfig = _DEFAULT,
    batch: int = 32,
    limit: int | None = None,
    part: Part = "all",
    collect: Collect = _COUNTS,
    proved: Mapping[str, BoolArray] | None = None,
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
        collect: what beside counts; or that a scan will do, which reads no more data once nothing is open.
        proved: by rectifier key, (channels,) which channels need no data.
        progress: told after every run.

    Raises:
        UnsupportedError: onnxruntime cannot run the model, or its opset is older than 7.
        UnreadableError, UsageError: from the source, or no labels to count by.
    """
    view = view_from_model(model)
    targets, notes = targets_of(view, rectifiers)
    settings = {"provider": plain_name(config.provider), "optimise": str(config.optimise), "collect": str(collect)}
    if not targets:
        return Measurement({}, 0, tuple(sorted(notes)), digest(model), settings)
    fixed = fixed_batch([view.tensors[name] for name in view.inputs if name not in model.graph.initializers])
    values = {t.value for t in targets} if collect.classes or (fixed or 0) > 1 else set()
    rows = values_with_samples(model, values, fixed or NO_BATCH)
    by_key = {r.key: r for r in rectifiers}
    job = Job(model, view, tuple(targets), by_key, config, collect, rows, proved or {}, may_cut=fixed is None)
    runner = Runner(job)
    samples = 0
    for piece in source.batches(fixed or batch, part, limit):
        is_short = fixed is not None and piece.size < fixed and not piece.whole
        feeds = padded(piece.feeds, piece.size, fixed) if is_short and fixed is not None else piece.feeds
        runner.add(piece, feeds, padded=is_short)
        samples += piece.size
        if progress is not None:
            progress(samples)
        if runner.is_settled:
            break
    notes |= _notes(runner, by_key, samples)
    return Measurement(
        runner.counts,
        samples,
        tuple(sorted(notes)),
        digest(model),
        settings,
        runner.seen,
        frozenset(runner.partial),
        runner.lines,
        runner.classes,
    )


NO_BATCH = -1
"""A size that no axis has."""


def _notes(runner: Runner, rectifiers: Mapping[str, Rectifier], samples: int) -> set[str]:
    left = {key: f"{n} samples of incomplete batches not counted" for key, n in runner.skipped.items()}
    notes = {f"{rectifiers[key].label}: {note}" for key, note in left.items()}
    if runner.is_settled:
        notes.add(f"the scan ended after {samples} samples: every channel had changed regime")
    if runner.classes:
        apart = [key for key in runner.counts if key not in runner.classes]
        notes |= {f"{rectifiers[key].label}: no counts by class, axis 0 does not hold the samples" for key in apart}
    return notes


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


def targets_of(view: GraphView, rectifiers: Sequence[Rectifier]) -> tuple[list[Target], set[str]]:
    """What can be counted, and a note for each rectifier that cannot."""
    targets, notes = [], set()
    for rectifier in rectifiers:
        channels = rectifier.channels if rectifier.axis is not None else None
        knots = tuple(np.asarray(knot, np.float64) for knot in rectifier.activation.knots)
        axis = rectifier.axis if channels else None
        is_relu = len(knots) == 1 and not knots[0].any() and has_floor(rectifier.activation)
        target = Target(rectifier.key, rectifier.operand, knots, axis, channels or 1, rectifier.output, is_relu)
        reason = why_not_countable(view, target)
        if reason:
            notes.add(f"{rectifier.label}: not measured, {reason}")
        else:
            targets.append(target)
    return targets, notes
