"""Whether sizes make sense, and weights fit their input: runtimes look at that only when they run.

Source: https://onnx.ai/onnx/operators/onnx__Conv.html, onnx__ConvTranspose.html, onnx__BatchNormalization.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Shape

MOST_NUMBERS = 1 << 50
LEAST_RANK = 3
"""Of a convolution's weight: channels on both sides, and space."""
PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 2, "output_padding": 1, "output_shape": 1}
"""Attributes with so many entries per spatial axis."""
AT_LEAST_ONE = ("kernel_shape", "strides", "dilations")


def check_fit(view: GraphView) -> None:
    """Return when no operator contradicts itself, as far as sizes are known.

    Raises:
        UnreadableError: which one does, and how.
    """
    for tensor in view.tensors.values():
        sizes = [size for size in tensor.shape or () if isinstance(size, int)]
        if prod(sizes) > MOST_NUMBERS:
            raise UnreadableError(f"'{tensor.name}' is of shape {_told(sizes)}, larger than any memory")
    for op in view.ops:
        check = _CHECKS.get(op.op_type) if op.domain == "" else None
        fault = None if check is None else check(op)
        if fault:
            raise UnreadableError(f"{op.op_type} '{op.label}' {fault}")


def _conv(op: OpView) -> str:
    x, weight = _shape(op, 0), _shape(op, 1)
    return _kernel(op, x, weight) or _channels(op, x, weight, inputs=1, outputs=0)


def _conv_transpose(op: OpView) -> str:
    x, weight = _shape(op, 0), _shape(op, 1)
    return _kernel(op, x, weight) or _channels(op, x, weight, inputs=0, outputs=1)


def _kernel(op: OpView, x: Shape | None, weight: Shape | None) -> str:
    if weight is None:
        return ""
    if len(weight) < LEAST_RANK or (x is not None and len(x) != len(weight)):
        return f"has a weight of shape {_told(weight)} for an input of {'rank unknown' if x is None else _told(x)}"
    spatial = len(weight) - 2
    for name, each in PER_AXIS.items():
        entries = op.attributes.get(name)
        if entries is None:
            continue
        if len(entries) != each * spatial:
            return f"has {len(entries)} {name} for {spatial} spatial axes"
        if name in AT_LEAST_ONE and min(entries, default=1) < 1:
            return f"has {name} {list(entries)}, which must be positive"
    stated = op.attributes.get("kernel_shape")
    if stated is not None and any(isinstance(n, int) and n != k for n, k in zip(weight[2:], stated, strict=True)):
        return f"has a weight of shape {_told(weight)} for a kernel of {list(stated)}"
    return ""


def _channels(op: OpView, x: Shape | None, weight: Shape | None, *, inputs: int, outputs: int) -> str:
    """Which axes of the weight hold the channels; the other one holds those of one group."""
    group = op.attributes.get("group", 1)
    if group < 1:
        return f"has {group} groups"
    if weight is None:
        return ""
    first, per_group = weight[0], weight[1]
    if isinstance(first, int) and first % group:
        return f"has {first} channels for {group} groups"
    wide = per_group * group if isinstance(per_group, int) else None
    wanted, made = (wide, first) if inputs == 1 else (first, wide)
    if x is not None and _differ(x[1], wanted):
        return f"has weights for {wanted} channels and an input of {x[1]}"
    bias = _shape(op, 2)
    if bias is not None and (len(bias) != 1 or _differ(bias[0], made)):
        return f"has a bias of shape {_told(bias)} for {made} channels"
    return ""


def _batch_normalization(op: OpView) -> str:
    x = _shape(op, 0)
    channels = x[1] if x is not None and len(x) > 1 else 1 if x is not None else None
    for at in range(1, 5):
        numbers = _shape(op, at)
        if numbers is not None and (len(numbers) != 1 or _differ(numbers[0], channels)):
            return f"has numbers of shape {_told(numbers)} for {'unknown' if channels is None else channels} channels"
    return ""


def _shape(op: OpView, index: int) -> Shape | None:
    operand = op.input(index)
    if operand is None:
        return None
    return operand.shape if operand.constant is None else operand.constant.shape


def _differ(one: object, other: object) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _told(shape: Sequence[object]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "()"


_CHECKS: Mapping[str, Callable[[OpView], str]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "BatchNormalization": _batch_normalization,
}
