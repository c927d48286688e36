"""Operators that onnx.reference (onnx 1.23) computes otherwise than the standard says, mended.

A model that only onnx.reference runs is verified by it; a merged convolution must not be blamed for these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import BatchNormalization_14
from onnx.reference.ops.op_conv_transpose import ConvTranspose as Plain


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


MENDED: tuple[type[OpRun], ...] = (BatchNormalization, ConvTranspose)
