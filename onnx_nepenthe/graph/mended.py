"""Operators that onnx.reference (onnx 1.19 to 1.23) computes otherwise than the standard says, mended.

A model that only onnx.reference runs is verified by it; a merged convolution must not be blamed for these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_average_pool import AveragePool_19
from onnx.reference.ops.op_batch_normalization import BatchNormalization_14
from onnx.reference.ops.op_conv_transpose import ConvTranspose as Plain

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.padding import window
from onnx_nepenthe.opview import OpView, Tensor

try:
    # Where there are two, the other one loops over every number.
    from onnx.reference.ops_optimized.op_conv_optimized import Conv as Fast  # type: ignore[import-not-found]
except ModuleNotFoundError:
    from onnx.reference.ops.op_conv import Conv as Fast


class BatchNormalization(BatchNormalization_14):
    """Before opset 14 onnx.reference mixes the statistics of the batch into the stored ones."""

    op_domain = ""

    def _run(self, *inputs: Any, **attributes: Any) -> Any:
        plain: Any = super()._run
        # `spatial` (opset 7) is 1 in every model that onnxruntime takes.
        attributes.pop("spatial", None)
        attributes["training_mode"] = attributes.get("training_mode") or 0
        return plain(*inputs, **attributes)


class ConvTranspose(Plain):
    """With groups, onnx.reference keeps one channel of each and adds the first group's bias to all."""

    op_domain = ""

    def _run(self, *inputs: Any, **attributes: Any) -> Any:
        plain: Any = super()._run
        groups = attributes.pop("group", None) or 1
        x, weight, *rest = inputs
        biases = [None] * groups if not rest or rest[0] is None else np.split(rest[0], groups)
        parts = zip(np.split(x, groups, axis=1), np.split(weight, groups), biases, strict=True)
        return (np.concatenate([plain(*part, group=1, **attributes)[0] for part in parts], axis=1),)


class Conv(Fast):  # type: ignore[misc]
    """Before onnx 1.22, onnx.reference pads for auto_pad as if there were no strides, and takes no empty batch."""

    op_domain = ""

    def _run(self, *inputs: Any, **attributes: Any) -> Any:
        plain: Any = super()._run
        x, weight = inputs[:2]
        given = {name: value for name, value in attributes.items() if value is not None}
        found = window(OpView("Conv", attributes=given, inputs=(Tensor("x", x.shape),)), weight.shape[2:])
        if isinstance(found, Refused):
            return plain(*inputs, **attributes)
        exact = {"auto_pad": "NOTSET", "pads": [*found.begins, *found.ends]}
        if len(x):
            return plain(*inputs, **(attributes | exact))
        one = np.zeros((1, *x.shape[1:]), x.dtype)
        return (plain(one, *inputs[1:], **(attributes | exact))[0][:0],)


class AveragePool(AveragePool_19):
    """With auto_pad VALID, onnx.reference makes room for the kernel as if it had no dilations."""

    op_domain = ""

    def _run(self, *inputs: Any, **attributes: Any) -> Any:
        plain: Any = super()._run
        if attributes.get("auto_pad") == "VALID":
            attributes |= {"auto_pad": "NOTSET", "pads": [0] * (2 * len(attributes["kernel_shape"]))}
        return plain(*inputs, **attributes)


MENDED: tuple[type[OpRun], ...] = (AveragePool, BatchNormalization, Conv, ConvTranspose)
