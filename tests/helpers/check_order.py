"""Other optimisers before and after ours, and another opset: the numbers stay whatever the order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import version_converter

from tests.helpers.check_networks import ROUNDING, assert_equal
from tests.helpers.collapsing import collapse, parts
from tests.helpers.compare import assert_close, run_runtime
from tests.helpers.networks import Drawn

Optimise = Callable[[onnx.ModelProto], onnx.ModelProto]
NEWER_OPSET = 21


def slimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    """By onnxslim."""
    slim: Optimise = pytest.importorskip("onnxslim").slim
    return slim(_copy(model))


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """By onnxsim."""
    result, is_right = pytest.importorskip("onnxsim").simplify(_copy(model))
    assert is_right
    assert isinstance(result, onnx.ModelProto)
    return result


def converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """To a newer opset."""
    return version_converter.convert_version(_copy(model), NEWER_OPSET)


OTHERS: dict[str, Optimise] = {"onnxslim": slimmed, "onnxsim": simplified, "a newer opset": converted}


def check_order(drawn: Drawn, other: Optimise) -> None:
    """Assert that ours after the other, the other after ours, and ours once more give the same numbers."""
    before = ours(drawn, other(drawn.model))
    after = other(ours(drawn, drawn.model))
    for result in (before, after, ours(drawn, after)):
        onnx.checker.check_model(result, full_check=True)
        assert_equal(result, drawn.model, drawn.data)
        assert_equal_optimised(result, drawn)


def assert_equal_optimised(result: onnx.ModelProto, drawn: Drawn) -> None:
    """By onnxruntime with its optimiser on, on what was counted."""
    counted, _ = parts(len(next(iter(drawn.data.values()))))
    feeds = {name: array[counted] for name, array in drawn.data.items()}
    got, want = (run_runtime(model, feeds, optimise=True) for model in (result, drawn.model))
    largest = max(float(np.abs(value).max(initial=1.0)) for value in want)
    assert_close(got, want, ROUNDING * 10 * largest)


def ours(drawn: Drawn, model: onnx.ModelProto) -> onnx.ModelProto:
    """Collapsed on the network's data."""
    outcome = collapse(model, data=drawn.data, prove_budget_s=0.0)
    return model if outcome.model is None else ir.to_proto(outcome.model)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())
