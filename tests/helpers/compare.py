"""Two oracles: onnxruntime with its optimiser off, and onnx.reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from tests.helpers.build import NUMPY, Array

Feeds = Mapping[str, Array]


class UnsupportedError(Exception):
    """The oracle has no kernel for the model."""


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs, weights left out."""
    return dict(Counter(node.op_type for node in model.graph.node if node.op_type != "Constant"))


def run_runtime(model: onnx.ModelProto, feeds: Feeds) -> list[Array]:
    """All outputs, by onnxruntime with its optimiser off.

    Raises:
        UnsupportedError: a kernel is missing (Conv in float64, say).
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        raise UnsupportedError(str(error)) from error
    results: list[Array] = session.run(None, dict(feeds))
    return results


def run_reference(model: onnx.ModelProto, feeds: Feeds) -> list[Array]:
    """All outputs, by onnx.reference."""
    with np.errstate(all="ignore"):
        results: list[Array] = ReferenceEvaluator(model).run(None, dict(feeds))
    return results


def feeds_for(model: onnx.ModelProto, rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Normal numbers for every input that is no weight; symbolic sizes from `sizes`."""
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for info in model.graph.input:
        if info.name not in weights:
            dims = info.type.tensor_type.shape.dim
            shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in dims]
            dtype = "double" if info.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE else "float"
            feeds[info.name] = rng.standard_normal(shape).astype(NUMPY[dtype])
    return feeds


def assert_close(results: list[Array], wanted: list[Array], tolerance: float) -> None:
    """Equal shapes and types, and numbers within `tolerance` times the largest wanted one (or 1)."""
    assert len(results) == len(wanted)
    for got, want in zip(results, wanted, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        scale = max(1.0, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=0.0, atol=tolerance * scale)


def assert_valid(model: onnx.ModelProto, before: onnx.ModelProto) -> None:
    """`model` passes the full check and keeps what callers of `before` see."""
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == before.ir_version
    assert list(model.opset_import) == list(before.opset_import)
    assert _fed(model) == _fed(before)
    assert [_described(info) for info in model.graph.output] == [_described(info) for info in before.graph.output]


def _fed(model: onnx.ModelProto) -> list[Any]:
    """Inputs; before IR 4 those that are weights may come and go."""
    weights = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    return [_described(info) for info in model.graph.input if info.name not in weights]


def _described(info: onnx.ValueInfoProto) -> tuple[str, int, list[int | str]]:
    kind = info.type.tensor_type
    return info.name, kind.elem_type, [d.dim_param or d.dim_value for d in kind.shape.dim]


def assert_same(new: onnx.ModelProto, old: onnx.ModelProto, feeds: Feeds, tolerance: float) -> None:
    """`new` is valid and both oracles find it equal to `old`."""
    assert_valid(new, old)
    assert_close(run_reference(new, feeds), run_reference(old, feeds), tolerance)
    try:
        wanted = run_runtime(old, feeds)
    except UnsupportedError:
        return
    assert_close(run_runtime(new, feeds), wanted, tolerance)
