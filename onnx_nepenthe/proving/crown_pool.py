"""MaxPool in a linear relaxation: at least the operand with the largest lower end, at most the largest upper end."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import Conv, FloatArray
from onnx_nepenthe.affine.windows import behind
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.padding import window
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.proving.crown_boxes import Box
from onnx_nepenthe.proving.crown_nodes import DEFAULT_DOMAINS, OWN_ERROR
from onnx_nepenthe.proving.crown_steps import TOUCH, Sizes, windows


@dataclass(frozen=True, eq=False)
class Pool:
    """y = max over a window.

    Attributes:
        output, operand: names.
        geometry: of the window; its weights mean nothing.
        before: shape of a sample of the operand.
        chosen: int (1, channels, *sizes), the tap whose operand has the largest lower end.
        sure: whether that one is the maximum for certain.
        most: the largest upper end in the window.
        error: what our own arithmetic may lose; runtimes lose nothing.
    """

    output: str
    operand: str
    geometry: Conv
    before: Sizes
    chosen: npt.NDArray[np.intp]
    sure: npt.NDArray[np.bool_]
    most: FloatArray
    error: FloatArray

    @property
    def work(self) -> int:
        """Multiply-adds of pulling one form back."""
        return TOUCH * self.error.size * prod(self.geometry.kernel)

    def pulled(self, a: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Coefficients on the operand and what is left as constants per number, for lower bounds of forms `a`."""
        plus = np.where(self.sure, a, np.maximum(a, 0))
        pads = list(zip(self.geometry.pads_begin, self.geometry.pads_end, strict=True))
        sizes = [n + begin + end for n, (begin, end) in zip(self.before[1:], pads, strict=True)]
        found = np.zeros((a.shape[0], self.before[0], *sizes))
        for tap, at in enumerate(windows(self.geometry, a.shape[2:])):
            found[behind(at)] += np.where(self.chosen == tap, plus, 0.0)
        inside = behind(slice(begin, begin + n) for n, (begin, _) in zip(self.before[1:], pads, strict=True))
        return found[inside], a - plus


def pool_node(op: OpView, boxes: dict[str, Box]) -> tuple[Pool, Box] | None:
    """A MaxPool whose windows all see data as a node, and where it puts each number; None for anything else."""
    operand = op.input(0)
    kernel = tuple(int(k) for k in op.attributes.get("kernel_shape", ()))
    if op.op_type != "MaxPool" or op.domain not in DEFAULT_DOMAINS or operand is None or operand.name not in boxes:
        return None
    box, geometry = boxes[operand.name], window(op, kernel)
    if isinstance(geometry, Refused) or op.attributes.get("ceil_mode", 0) or len(box.sizes) != len(kernel) + 1:
        return None
    taps = np.zeros((1, 1, *kernel))
    shape = Conv(taps, np.zeros(1), geometry.strides, geometry.dilations, geometry.begins, geometry.ends)
    low, high = _seen(box.low, shape), _seen(box.high, shape)
    chosen, most = low.argmax(axis=0), high.max(axis=0)
    least = low.max(axis=0)
    if not np.isfinite(least).all():
        return None
    others = np.where(np.arange(len(low)).reshape(-1, *(1,) * chosen.ndim) == chosen, -np.inf, high).max(axis=0)
    error = OWN_ERROR * np.maximum(np.abs(least), np.abs(most))
    made = Pool(op.outputs[0], operand.name, shape, box.sizes, chosen, others <= least, most, error)
    return made, Box(least, most)


def _seen(x: FloatArray, geometry: Conv) -> FloatArray:
    """What each tap sees, (taps, 1, channels, *sizes); -inf in the padding."""
    pads = [(0, 0), (0, 0), *zip(geometry.pads_begin, geometry.pads_end, strict=True)]
    padded = np.pad(x, pads, constant_values=-np.inf)
    strides, tails = geometry.strides, geometry.tails
    sizes = tuple((n - 1 + tail) // s + 1 for n, tail, s in zip(x.shape[2:], tails, strides, strict=True))
    return np.stack([padded[behind(at)] for at in windows(geometry, sizes)])
