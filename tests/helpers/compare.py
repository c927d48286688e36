"""Two oracles: onnxruntime with its optimiser off, and onnx.reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from tests.helpers.build import NUMPY, TYPES, Array
from tests.helpers.reference import run_reference

Feeds = Mapping[str, Array]


RuntimeRefusal = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.NotImplemented,
    state.RuntimeException,
)
"""What onnxruntime raises for a model it has no kernels for, or that does not fit its inputs."""


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs, weights left out."""
    return dict(Counter(node.op_type for node in model.graph.node if node.op_type != "Constant"))


def run_runtime(model: onnx.ModelProto, feeds: Feeds, *, optimise: bool = False) -> list[Array]:
    """All outputs, by onnxruntime with its optimiser off unless asked for."""
    options, level = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, dict(feeds))
    return results


def feeds_for(model: onnx.ModelProto, rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Normal numbers for every input that is no weight; symbolic sizes from `sizes`."""
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for info in model.graph.input:
        if info.name not in weights:
            dims = info.type.tensor_type.shape.dim
            shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in dims]
            feeds[info.name] = rng.standard_normal(shape).astype(_numpy_type(info))
    return feeds


def _numpy_type(info: onnx.ValueInfoProto) -> type[np.floating[Any]]:
    return next(NUMPY[name] for name, code in TYPES.items() if code == info.type.tensor_type.elem_type)


def assert_close(results: list[Array], wanted: list[Array], tolerance: float) -> None:
    """Equal shapes and types, and numbers no further apart than `tolerance`."""
    assert len(results) == len(wanted)
    for got, want in zip(results, wanted, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=0.0, atol=tolerance)


def assert_valid(model: onnx.ModelProto, before: onnx.ModelProto) -> None:
    """`model` passes the full check and keeps what callers of `before` see."""
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == before.ir_version
    assert [(o.domain, o.version) for o in model.opset_import] == [(o.domain, o.version) for o in before.opset_import]
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
    assert_close(run_runtime(new, feeds), run_runtime(old, feeds), tolerance)
    try:
        wanted = run_reference(old, feeds)
    except Exception:
        # onnx.reference raises whatever its Python comes across (Pad that crops, say).
        return
    assert_close(run_reference(new, feeds), wanted, tolerance)
