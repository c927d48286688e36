"""How long models take: each by itself, and paired with the first; behind `bench`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.latency import Comparison, Timing, compare, random_feeds, time_alone
from onnx_nepenthe.options import Options
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.run import resolved
from onnx_nepenthe.session import Session, open_session
from onnx_nepenthe.sources import open_source

PathLike = str | os.PathLike[str]
Feeds = Mapping[str, npt.NDArray[Any]]


def bench_files(models: Sequence[PathLike], options: Options, budget_s: float) -> tuple[Timing, ...]:
    """Time each model for about `budget_s` seconds by itself, then as long in turns with the first.

    Raises:
        UsageError: models that do not take the same inputs.
        NepentheError: an unreadable model or data, or a model that cannot be run.
    """
    first = load(models[0])
    options = resolved(options, first)
    opened = [_open(path, options) for path in models]
    _check_inputs(models, [session for session, _ in opened])
    feeds = _feeds(opened[0][0].inputs, options)
    batch = next((array.shape[0] for array in feeds.values() if array.ndim), 1)
    timings: list[Timing] = []
    for at, (path, (session, load_ms)) in enumerate(zip(models, opened, strict=True)):
        options.progress("timing", at, len(models))
        calls = time_alone(session, feeds, budget_s)
        paired = None if at == 0 else _paired(models[0], opened[0][0], session, feeds, options, budget_s)
        timings.append(Timing(os.fspath(path), load_ms, batch, calls, paired))
    return tuple(timings)


def _open(path: PathLike, options: Options) -> tuple[Session, float]:
    load(path)
    start = time.perf_counter()
    session = open_session(Path(path), options.config)
    return session, 1e3 * (time.perf_counter() - start)


def _check_inputs(models: Sequence[PathLike], sessions: Sequence[Session]) -> None:
    wanted = sorted((port.name, port.dtype) for port in sessions[0].inputs)
    for path, session in zip(models, sessions, strict=True):
        found = sorted((port.name, port.dtype) for port in session.inputs)
        if found != wanted:
            listed = ", ".join(f"{name} ({dtype})" for name, dtype in found)
            raise UsageError(f"{path}: has other inputs than {models[0]}: {listed}; models are timed on the same input")


def _feeds(ports: tuple[Tensor, ...], options: Options) -> Feeds:
    if options.data is not None:
        source = open_source(options.data, ports, replace(options.source, seed=options.seed))
        return next(iter(source.batches(options.batch))).feeds
    dims = {port.shape[0]: options.batch for port in ports if port.shape and isinstance(port.shape[0], str)}
    return random_feeds(ports, dims, np.random.default_rng(options.seed), options.input_ranges)


def _paired(
    path: PathLike, first: Session, session: Session, feeds: Feeds, options: Options, budget_s: float
) -> Comparison:
    return compare(
        first,
        session,
        feeds,
        rng=np.random.default_rng(options.seed),
        control=open_session(Path(path), options.config),
        budget_s=budget_s,
        threads=options.config.threads,
    )
