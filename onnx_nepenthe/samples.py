"""Inputs to run a model on: the user's data, or seeded random numbers where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError, UsageError
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.latency import random_feeds
from onnx_nepenthe.measure import fixed_batch, padded
from onnx_nepenthe.options import Options
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.session import open_session
from onnx_nepenthe.sources import Part
from onnx_nepenthe.verify import Batch

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
RANDOM_BATCHES = 8
"""Batches of seeded random input that a model is verified on without data."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A batch to run on, as `verify.Batch` wants it."""

    feeds: Feeds
    labels: Array | None
    size: int
    whole: bool = True


def random_batches(findings: Findings, options: Options, count: int) -> Iterator[Sample]:
    """Seeded random input, `count` times; uniform in the declared ranges, standard normal elsewhere.

    Raises:
        UnsupportedError: an input for which no random data can be made.
    """
    rng = np.random.default_rng(options.seed)
    try:
        ports = open_session(findings.model, replace(options.config, optimise=False)).inputs
    except UnsupportedError:
        ports = _fed(findings)
    dims = {port.shape[0]: options.latency_batch for port in ports if port.shape and isinstance(port.shape[0], str)}
    for _ in range(count):
        yield Sample(random_feeds(ports, dims, rng, options.input_ranges), None, 1)


def timing_feeds(findings: Findings, options: Options) -> Feeds | None:
    """One batch to time on: the first of the data, else random numbers; None when there can be none."""
    fixed = _fixed(findings)
    if findings.source is not None:
        first = next(iter(findings.source.batches(fixed or options.latency_batch)), None)
        if first is not None:
            return padded(first.feeds, first.size, fixed) if fixed and not first.whole else first.feeds
    try:
        return next(random_batches(findings, options, 1)).feeds
    except UnsupportedError:
        return None


def verification_batches(findings: Findings, options: Options) -> tuple[Iterator[Batch], str, bool]:
    """(batches, where they come from, whether calibration never saw them).

    What a recorded measurement saw is not known.
    """
    source = findings.source
    if source is None:
        return random_batches(findings, options, RANDOM_BATCHES), "seeded random input", True
    fixed = _fixed(findings)
    size = fixed or options.batch
    pieces = source.batches(size, "verification", options.verify_limit)
    first = next(pieces, None)
    if first is not None:
        return (_filled(batch, fixed) for batch in chain([first], pieces)), source.name, options.measurement is None
    again = source.batches(size, "calibration", options.verify_limit)
    return (_filled(batch, fixed) for batch in again), f"{source.name} (the calibration samples)", False


def batches_of(findings: Findings, options: Options, part: Part, limit: int | None) -> Iterator[Batch]:
    """The samples of one part of the data, in batches the model takes.

    Raises:
        UsageError: there are no data.
    """
    if findings.source is None:
        raise UsageError("a budget needs data to spend it on; give --data")
    fixed = _fixed(findings)
    return (_filled(batch, fixed) for batch in findings.source.batches(fixed or options.batch, part, limit))


def _filled(batch: Batch, fixed: int | None) -> Batch:
    """The batch as a model for one batch size takes it."""
    if fixed is None or batch.size == fixed or batch.whole:
        return batch
    return Sample(padded(batch.feeds, batch.size, fixed), batch.labels, batch.size, False)


def _fixed(findings: Findings) -> int | None:
    return fixed_batch(_fed(findings))


def _fed(findings: Findings) -> tuple[Tensor, ...]:
    """The inputs that a caller has to feed."""
    view = findings.view
    return tuple(view.tensors[name] for name in view.inputs if name not in view.overridable)
