"""The whole pipeline in one call, and its result checked against both oracles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe import pipeline
from onnx_nepenthe.inspection import Findings, find
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Inspection, Outcome
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources.split import split
from tests.helpers.build import Array
from tests.helpers.compare import assert_close, assert_valid, run_runtime
from tests.helpers.reference import run_reference

CONFIG = SessionConfig(threads=1)
Feeds = Mapping[str, Array]


def options(**given: Any) -> Options:
    return Options(**{"latency": "off", "config": CONFIG, **given})


def findings(model: onnx.ModelProto, **given: Any) -> Findings:
    return find(ir.from_proto(model), options(**given))


def collapse(model: onnx.ModelProto, **given: Any) -> Outcome:
    return pipeline.collapse(ir.from_proto(model), "net", options(**given))


def inspect(model: onnx.ModelProto, **given: Any) -> Inspection:
    return pipeline.inspect(ir.from_proto(model), "net", options(**given))


def result_of(outcome: Outcome) -> onnx.ModelProto:
    assert outcome.is_collapsed, outcome.refusals
    return ir.to_proto(outcome.model)


def assert_equal(outcome: Outcome, before: onnx.ModelProto, feeds: Feeds, tolerance: float = 1e-5) -> onnx.ModelProto:
    """The result, which is valid, has the same interface and gives the same numbers."""
    after = result_of(outcome)
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    assert_valid(after, before)
    assert_close(run_runtime(after, feeds), run_runtime(before, feeds), tolerance)
    assert_close(run_reference(after, feeds), run_reference(before, feeds), tolerance)
    return after


def removed(outcome: Outcome) -> list[str]:
    """Labels of the rectifiers that are gone."""
    return [row.rectifier.label for row in outcome.inspection.rows if row.removed]


def parts(samples: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Positions of the samples that calibrate and of those that verify."""
    return [*split(range(samples), "calibration", seed)], [*split(range(samples), "verification", seed)]


def flipping(x: Array, seed: int = 0) -> Array:
    """`x`, all of it above zero for calibration and below zero for verification."""
    _, verifying = parts(len(x), seed)
    signs = np.ones(len(x), x.dtype)
    signs[verifying] = -1
    return np.abs(x) * signs.reshape(-1, *(1,) * (x.ndim - 1))
