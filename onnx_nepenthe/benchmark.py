"""How long models take, each by itself and paired with the first, and how much memory; behind `bench`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.latency import Comparison, Timing, compare, footprint_of, random_feeds, time_alone
from onnx_nepenthe.options import Options
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.run import resolved
from onnx_nepenthe.session import Session, check_provider, open_session
from onnx_nepenthe.sources import open_source

PathLike = str | os.PathLike[str]
Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Settings:
    """What models are timed at: every number of threads with every batch size.

    Attributes:
        budget_s: for each model by itself, and as long again for each in turns with the first.
        threads: of one operator; 0 leaves the number to onnxruntime.
        batches: samples per call, where the models allow.
        memory: whether peak memory is measured too, in a process for each.
    """

    budget_s: float
    threads: tuple[int, ...] = (0,)
    batches: tuple[int, ...] = (1,)
    memory: bool = True


def bench_files(models: Sequence[PathLike], options: Options, settings: Settings) -> tuple[Timing, ...]:
    """Time each model by itself, then in turns with the first, at all of `settings`.

    Returns:
        Models within batch sizes within threads. A batch size that models do not allow is there once, as what they
        take instead.

    Raises:
        UsageError: models that do not take the same inputs.
        NepentheError: an unreadable model or data, or a model that cannot be run.
    """
    options = resolved(options, load(models[0]))
    # Loading onnxruntime is no part of making the first session.
    check_provider(options.config.provider)
    timings: list[Timing] = []
    for threads in settings.threads:
        own = replace(options, config=replace(options.config, threads=threads))
        opened = [_open(path, own) for path in models]
        _check_inputs(models, [session for session, _ in opened])
        seen: set[int] = set()
        for batch in settings.batches:
            feeds = _feeds(opened[0][0].inputs, replace(own, batch=batch))
            found = _batch_of(feeds)
            if found not in seen:
                timings += _at_one_setting(models, opened, feeds, own, settings)
            seen.add(found)
    return tuple(timings)


def _at_one_setting(
    models: Sequence[PathLike],
    opened: Sequence[tuple[Session, float]],
    feeds: Feeds,
    options: Options,
    settings: Settings,
) -> Iterator[Timing]:
    batch, threads = _batch_of(feeds), options.config.threads
    for at, (path, (session, load_ms)) in enumerate(zip(models, opened, strict=True)):
        options.progress("timing", at, len(models))
        calls = time_alone(session, feeds, settings.budget_s)
        paired = None if at == 0 else _paired(models[0], opened[0][0], session, feeds, options, settings.budget_s)
        memory = footprint_of(path, feeds, options.config) if settings.memory else None
        yield Timing(os.fspath(path), load_ms, batch, calls, paired, threads, memory)


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


def _batch_of(feeds: Feeds) -> int:
    return next((array.shape[0] for array in feeds.values() if array.ndim), 1)


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
