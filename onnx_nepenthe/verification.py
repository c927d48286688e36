"""Two model files against each other on data, behind `verify`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnx_nepenthe.blaming import blamed
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import side_of
from onnx_nepenthe.latency import random_feeds
from onnx_nepenthe.measure import fixed_batch, padded
from onnx_nepenthe.options import Options
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.run import resolved
from onnx_nepenthe.samples import RANDOM_BATCHES, Sample
from onnx_nepenthe.session import open_session
from onnx_nepenthe.sources import Source, open_source
from onnx_nepenthe.verify import Batch, Verdict, verify

PathLike = str | os.PathLike[str]


def verify_files(before: PathLike, after: PathLike, options: Options) -> Verdict:
    """Whether `after` computes what `before` computes, on all of the data or, without any, on seeded random input.

    Raises:
        NepentheError: an unreadable model or data, or a `before` that cannot be run on them.
    """
    options.progress("reading", 0, None)
    model = load(before)
    load(after)
    options = resolved(options, model)
    batches, name = _batches(before, options)
    with blamed(model, os.fspath(before), options.config):
        depth = side_of(view_from_model(model)).size.weighted_depth
    return verify(
        Path(before),
        Path(after),
        batches,
        depth=depth,
        config=options.config,
        source=name,
        disjoint=True,
    )


def _batches(path: PathLike, options: Options) -> tuple[Iterator[Batch], str]:
    session = open_session(Path(path), replace(options.config, optimise=False))
    ports = session.inputs
    if options.data is None:
        return _random(ports, options), "seeded random input"
    source = open_source(options.data, ports, replace(options.source, seed=options.seed), session.outputs)
    return _from_source(source, ports, options), source.name


def _random(ports: tuple[Tensor, ...], options: Options) -> Iterator[Batch]:
    rng = np.random.default_rng(options.seed)
    for done in range(RANDOM_BATCHES):
        options.progress("verifying", done, RANDOM_BATCHES)
        yield Sample(random_feeds(ports, {}, rng, options.input_ranges), None, 1)


def _from_source(source: Source, ports: tuple[Tensor, ...], options: Options) -> Iterator[Batch]:
    fixed, count, done = fixed_batch(ports), source.count(), 0
    total = count if options.limit is None or count is None else min(count, options.limit)
    for batch in source.batches(fixed or options.batch, "all", options.limit):
        options.progress("verifying", done, total)
        done += batch.size
        if fixed is None or batch.size == fixed or batch.whole:
            yield batch
        else:
            yield Sample(padded(batch.feeds, batch.size, fixed), batch.labels, batch.size, False)
