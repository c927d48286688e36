"""Strides, dilations and pads of a sliding window, with auto_pad resolved."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView, Shape

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Geometry per spatial axis."""

    strides: Ints
    dilations: Ints
    begins: Ints
    ends: Ints


def window(view: OpView, kernel: Ints) -> Window | Refused:
    """The window of Conv or a pooling operator with explicit pads.

    Source: https://onnx.ai/onnx/operators/onnx__Conv.html (auto_pad).
    """
    spatial = len(kernel)
    strides = tuple(int(s) for s in view.attributes.get("strides") or (1,) * spatial)
    dilations = tuple(int(d) for d in view.attributes.get("dilations") or (1,) * spatial)
    pads = tuple(int(p) for p in view.attributes.get("pads") or (0,) * 2 * spatial)
    if len(strides) != spatial or len(dilations) != spatial or len(pads) != 2 * spatial:
        return Refused("its strides, dilations or pads do not fit its kernel")
    mode = view.attributes.get("auto_pad", "NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "VALID":
        pads = (0,) * 2 * spatial
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        operand = view.input(0)
        found = _same(kernel, strides, dilations, operand.shape if operand else None, mode == "SAME_UPPER")
        if isinstance(found, Refused):
            return found
        pads = found
    elif mode != "NOTSET":
        return Refused(f"auto_pad {mode!r} is unknown")
    if any(p < 0 for p in pads):
        return Refused("its padding is negative (it crops)")
    return Window(strides, dilations, pads[:spatial], pads[spatial:])


def _same(kernel: Ints, strides: Ints, dilations: Ints, shape: Shape | None, upper: bool) -> Ints | Refused:
    begins, ends = [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        reach = (k - 1) * d + 1
        if s == 1:
            total = reach - 1
        else:
            size = shape[axis + 2] if shape is not None and len(shape) == len(kernel) + 2 else None
            if not isinstance(size, int):
                return Refused("auto_pad with a stride, over an axis of unknown size")
            total = max((-(-size // s) - 1) * s + reach - size, 0)
        small = total // 2
        begins.append(small if upper else total - small)
        ends.append(total - small if upper else small)
    return (*begins, *ends)
