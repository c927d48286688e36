"""onnx.reference with three operators mended (onnx 1.23)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_average_pool, op_conv_transpose

from tests.helpers.build import Array


class BatchNormalization(OpRun):
    """Inference. onnx.reference mixes in the statistics of the batch before opset 14."""

    op_domain = ""

    def _run(self, x: Array, *numbers: Array, epsilon: float = 1e-5, **_: Any) -> tuple[Array]:
        scale, shift, mean, variance = (number.reshape(-1, *(1,) * (x.ndim - 2)) for number in numbers)
        return ((scale * (x - mean) / np.sqrt(variance + epsilon) + shift).astype(x.dtype),)


class ConvTranspose(op_conv_transpose.ConvTranspose):
    """Group by group. onnx.reference adds the first group's bias to every group, and keeps one channel of each."""

    op_domain = ""

    def _run(self, x: Array, weight: Array, bias: Array | None = None, group: int = 1, **at: Any) -> tuple[Array]:
        biases = [None] * group if bias is None else np.split(bias, group)
        parts = zip(np.split(x, group, axis=1), np.split(weight, group), biases, strict=True)
        plain = super()._run
        return (np.concatenate([plain(part, w, b, group=1, **at)[0] for part, w, b in parts], axis=1),)


class AveragePool(op_average_pool.AveragePool_19):
    """Without auto_pad. onnx.reference forgets the dilations where it is VALID."""

    op_domain = ""

    def _run(self, x: Array, *, auto_pad: str | None = None, pads: Any = None, **at: Any) -> tuple[Array]:
        plain = super()._run
        found: tuple[Array]
        if auto_pad == "VALID":
            found = plain(x, auto_pad="NOTSET", pads=[0, 0] * (x.ndim - 2), **at)
        else:
            found = plain(x, auto_pad=auto_pad, pads=pads, **at)
        return found


def reference_values(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the main graph."""
    evaluator = ReferenceEvaluator(model, new_ops=[AveragePool, BatchNormalization, ConvTranspose])
    with np.errstate(all="ignore"):
        values: dict[str, Array] = evaluator.run(None, dict(feeds), intermediate=True)
    return values


def run_reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """All outputs."""
    values = reference_values(model, feeds)
    return [values[info.name] for info in model.graph.output]
