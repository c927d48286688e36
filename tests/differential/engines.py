"""Everything that runs a model here, and other tools that rewrite one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import version_converter

from onnx_nepenthe.graph.seeding import seeded
from tests.helpers.build import Array
from tests.helpers.collapsing import collapse
from tests.helpers.compare import run_runtime
from tests.helpers.reference import run_reference

Feeds = Mapping[str, Array]
Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]
OPSETS = (18, 21)


ENGINES: dict[str, Callable[[onnx.ModelProto, Feeds], list[Any]]] = {
    "onnxruntime, optimiser off": run_runtime,
    "onnxruntime, optimiser on": partial(run_runtime, optimise=True),
    "onnx.reference": run_reference,
}


def ours(model: onnx.ModelProto) -> onnx.ModelProto:
    """Collapsed without data, every exact composition taken."""
    outcome = collapse(model)
    return model if outcome.model is None else ir.to_proto(outcome.model)


def slimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    """By onnxslim."""
    slim: Rewrite = pytest.importorskip("onnxslim").slim
    return slim(copied(model))


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """By onnxsim."""
    result, _ = pytest.importorskip("onnxsim").simplify(copied(model))
    assert isinstance(result, onnx.ModelProto)
    return result


def converted_to(opset: int) -> Rewrite:
    """By the version converter."""
    return lambda model: version_converter.convert_version(copied(model), opset)


OTHERS: dict[str, Rewrite] = {
    "onnxslim": slimmed,
    "onnxsim": simplified,
    **{f"opset {opset}": converted_to(opset) for opset in OPSETS},
}


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())


def results(model: onnx.ModelProto, feeds: Feeds, engine: str) -> list[Array]:
    """The numbers an engine computes, random ones with seeds."""
    made = ENGINES[engine](ir.to_proto(seeded(ir.from_proto(model))), feeds)
    return [np.asarray(value) for value in made]
