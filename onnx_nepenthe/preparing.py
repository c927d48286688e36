"""Collapse a model that is first changed on request: weights that are inputs fixed, local functions inlined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.graph.inlining import prepared
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import Findings, side_of, why_not_runnable
from onnx_nepenthe.linearise import Linearised
from onnx_nepenthe.measuring import open_data
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.samples import timing_feeds, verification_batches
from onnx_nepenthe.trial import compare_models
from onnx_nepenthe.verify import verify

Exact = Callable[[Model, str, Options], Outcome]


def is_prepared(options: Options) -> bool:
    """Whether the model is to be changed before anything else."""
    return options.freeze_initializers or options.inline_functions


def collapse_prepared(model: Model, name: str, options: Options, collapse: Exact) -> Outcome:
    """Collapse `model` with `options.freeze_initializers` or `options.inline_functions`.

    The result is compared with the model as it was given: fixing the weights alone lets runtimes fold them, which
    may be most of the gain, so the prepared model is the result even when nothing else could be collapsed.

    Raises:
        VerificationError: the prepared model computes something else.
        UnsupportedError: its functions cannot be inlined.
    """
    ready = prepared(model, freeze=options.freeze_initializers, inline=options.inline_functions)
    outcome = collapse(ready, name, replace(options, freeze_initializers=False, inline_functions=False))
    view = view_from_model(model)
    if not (options.freeze_initializers and view.overridable) and not (options.inline_functions and model.functions):
        return outcome
    result = ready if outcome.model is None else outcome.model
    source = open_data(model, options)
    bare = Findings(model, view, (), (), source, None, Linearised({}, {}))
    verdict, latency = outcome.verdict, outcome.latency
    if verdict is None or options.inline_functions:
        batches, where, disjoint = verification_batches(bare, options)
        depth = side_of(view).size.weighted_depth
        verdict = verify(model, result, batches, depth=depth, config=options.config, source=where, disjoint=disjoint)
        if not verdict.passed:
            raise VerificationError(f"verification failed: {verdict.reason}; nothing was written")
    is_timed = options.latency == "measured" and why_not_runnable(model, options) is None
    feeds = timing_feeds(bare, options) if is_timed else None
    if feeds is not None:
        latency = compare_models(model, result, feeds, options.config, np.random.default_rng(options.seed))
    return replace(outcome, model=result, verdict=verdict, latency=latency, message="collapsed")
