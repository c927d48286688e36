"""Write one form as operators: the core, then the view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import (
    Conv,
    Dense,
    FloatArray,
    PerChannel,
    SpatialMean,
    conv_from,
    evaluate,
    is_constant,
    is_identity,
)
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.opview import Shape

LARGEST_CONSTANT = 1 << 22
"""Elements of the largest constant that replaces a computed value (16 MiB of float32)."""


@dataclass(frozen=True)
class Target:
    """Where a form is written.

    Attributes:
        editor: of the model.
        dtype: ONNX type of the result ("float").
        hint: what new operators and weights are named after.
    """

    editor: Editor
    dtype: str
    hint: str

    def constant(self, array: FloatArray, what: str) -> Any:
        """A constant of the result's type."""
        return self.editor.constant(f"{self.hint}_{what}", array, self.dtype)

    def node(self, op_type: str, inputs: list[Any], attributes: dict[str, Any] | None = None) -> Any:
        """An operator with one output."""
        return self.editor.node(op_type, inputs, attributes, hint=self.hint)


def emit(form: Form, source: Any, target: Target) -> Any:
    """Append operators that compute the form's value from `source`, and return that value.

    Args:
        form: what to compute; `is_emittable`.
        source: the source's value in the editor.
        target: where and how.
    """
    constant = _constant_value(form)
    if constant is not None:
        return target.constant(constant, "constant")
    if is_flat(form):
        return _emit_flat(form, source, target)
    value = _emit_core(form.core, form.source, source, target)
    return _emit_view(form, value, target)


def _constant_value(form: Form) -> FloatArray | None:
    """The whole value, when nothing can change it and every size is known."""
    if not is_constant(form.core) or any(not isinstance(size, int) for size in form.source):
        return None
    sizes = tuple(int(size) for size in form.source if isinstance(size, int))
    out = tuple(int(size) for size in form.shape if isinstance(size, int))
    if prod(sizes) > LARGEST_CONSTANT or len(out) != len(form.shape) or prod(out) > LARGEST_CONSTANT:
        return None
    value = evaluate(form.core, np.zeros(sizes))
    order = [axis for group in form.view for axis in group]
    rest = [axis for axis in range(value.ndim) if axis not in order]
    shape = tuple(int(size) for size in form.value_shape if isinstance(size, int))
    return np.broadcast_to(value, out).transpose(order + rest).reshape(shape)


def is_flat(form: Form) -> bool:
    """A convolution over everything, or a mean followed by a matrix, whose result has two axes."""
    if form.view != ((0,), (1,)) or len(form.source) < 3:
        return False
    match form.core:
        case Conv() as m:
            return not m.is_padded and m.groups == 1 and m.kernel == form.source[2:]
        case SpatialMean(then=Dense()):
            return True
    return False


def _emit_flat(form: Form, source: Any, target: Target) -> Any:
    if isinstance(form.core, SpatialMean):
        source = target.node("GlobalAveragePool", [source])
        dense = form.core.then
        assert isinstance(dense, Dense)
    else:
        assert isinstance(form.core, Conv)
        dense = Dense(1, form.core.weight.reshape(len(form.core.bias), -1), form.core.bias)
    flat = target.node("Flatten", [source], {"axis": 1})
    return _emit_core(dense, (form.source[0], dense.weight.shape[1]), flat, target)


def _emit_core(core: Any, shape: Shape, source: Any, target: Target) -> Any:
    match core:
        case PerChannel():
            return _emit_line(core, len(shape), source, target)
        case Dense():
            return _emit_dense(core, shape, source, target)
        case SpatialMean():
            mean = target.node("GlobalAveragePool", [source])
            return _emit_core(core.then, (*shape[:2], *(1,) * (len(shape) - 2)), mean, target)
        case Conv():
            return _emit_conv(core, shape, source, target)
        case TransposedConv():
            return _emit_transposed(core, source, target)
    raise AssertionError(f"{core!r} is not an affine map")


def _emit_line(m: PerChannel, rank: int, source: Any, target: Target) -> Any:
    if is_identity(m):
        return source
    if m.axis == 1 and (m.scale != 1).any() and m.offset.any():
        return _emit_normalization(m, source, target)
    sizes = [] if m.axis is None else [-1] + [1] * (rank - 1 - m.axis)
    value = source
    if (m.scale != 1).any():
        value = target.node("Mul", [value, target.constant(m.scale.reshape(sizes), "scale")])
    if m.offset.any():
        value = target.node("Add", [value, target.constant(m.offset.reshape(sizes), "offset")])
    return value


def _emit_normalization(m: PerChannel, source: Any, target: Target) -> Any:
    """One BatchNormalization instead of Mul and Add; its default epsilon, which some providers ask for."""
    epsilon = 1e-5
    zeros, rest = np.zeros(m.scale.size), np.full(m.scale.size, 1.0 - epsilon)
    numbers = {"scale": m.scale, "offset": m.offset, "mean": zeros, "variance": rest}
    inputs = [source, *(target.constant(array, what) for what, array in numbers.items())]
    return target.node("BatchNormalization", inputs, {"epsilon": epsilon})


def _emit_dense(m: Dense, shape: Shape, source: Any, target: Target) -> Any:
    rank = len(shape)
    if m.axis == 1 and rank > 2:
        return _emit_conv(conv_from(m, rank - 2, m.weight.shape[1]), shape, source, target)
    if m.axis == rank - 1:
        weight = target.constant(m.weight.T, "weight")
        if rank == 2 and m.bias.any():
            return target.node("Gemm", [source, weight, target.constant(m.bias, "bias")])
        value, sizes = target.node("MatMul", [source, weight]), [-1]
    else:
        value, sizes = target.node("MatMul", [target.constant(m.weight, "weight"), source]), [-1, 1]
    return target.node("Add", [value, target.constant(m.bias.reshape(sizes), "bias")]) if m.bias.any() else value


def _emit_conv(m: Conv, shape: Shape, source: Any, target: Target) -> Any:
    attributes = _geometry(m) | {"group": m.groups, "kernel_shape": list(m.kernel)}
    inputs = [source, target.constant(m.weight, "weight")]
    sizes = [size for size in shape[2:] if isinstance(size, int)]
    if m.border is not None and len(sizes) == m.spatial:
        plane = evaluate(replace(m, weight=m.border[:, None], border=None, groups=1), np.ones((1, 1, *sizes)))
        value = target.node("Conv", inputs, attributes)
        return target.node("Add", [value, target.constant(plane, "border")])
    if m.bias.any():
        inputs.append(target.constant(m.bias, "bias"))
    value = target.node("Conv", inputs, attributes)
    if m.border is None:
        return value
    over_ones = [_plane_of_ones(len(shape), source, target), target.constant(m.border[:, None], "border")]
    border = target.node("Conv", over_ones, _geometry(m) | {"group": 1, "kernel_shape": list(m.kernel)})
    return target.node("Add", [value, border])


def _emit_transposed(m: TransposedConv, source: Any, target: Target) -> Any:
    attributes = _geometry(m) | {"group": m.groups, "kernel_shape": list(m.kernel)}
    if any(m.output_padding):
        attributes["output_padding"] = list(m.output_padding)
    bias = [target.constant(m.bias, "bias")] if m.bias.any() else []
    return target.node("ConvTranspose", [source, target.constant(m.weight, "weight"), *bias], attributes)


def _geometry(m: Conv | TransposedConv) -> dict[str, Any]:
    return {
        "strides": list(m.strides),
        "dilations": list(m.dilations),
        "pads": [*m.pads_begin, *m.pads_end],
    }


def _plane_of_ones(rank: int, source: Any, target: Target) -> Any:
    """Ones of shape (1, 1, *spatial) for a source whose spatial sizes are known only when it runs."""
    editor = target.editor
    sizes = editor.node("Shape", [source], hint=target.hint)
    positions = editor.constant(f"{target.hint}_axes", np.arange(2, rank), "int64")
    space = editor.node("Gather", [sizes, positions], {"axis": 0}, hint=target.hint)
    ones = editor.constant(f"{target.hint}_ones", np.ones(2), "int64")
    full = editor.node("Concat", [ones, space], {"axis": 0}, hint=target.hint)
    fill = editor.tensor(np.ones(1), target.dtype)
    return editor.node("ConstantOfShape", [full], {"value": fill}, hint=target.hint)


def layout(form: Form) -> tuple[list[int], list[int] | None] | None:
    """Order of the axes, and sizes for a Reshape after that (None for no Reshape); None when it cannot be written."""
    named = [axis for group in form.view for axis in group]
    rest = [axis for axis in range(len(form.shape)) if axis not in named]
    if all(len(group) == 1 for group in form.view) and not rest:
        return named, None
    orders = [named + rest]
    if named == sorted(named):
        # Axes that the view leaves out have size 1, so that they may as well stay where they are.
        orders.insert(0, sorted(named + rest))
    for order in orders:
        sizes = _reshape_sizes(form, order)
        if sizes.count(-1) <= 1:
            return order, sizes
    return None


def _reshape_sizes(form: Form, order: list[int]) -> list[int]:
    """-1 for each size that is neither known nor kept."""
    sizes: list[int] = []
    for position, (group, size) in enumerate(zip(form.view, form.value_shape, strict=True)):
        if isinstance(size, int):
            sizes.append(size)
        elif len(group) == 1 and position < len(order) and order[position] == group[0]:
            sizes.append(0)
        else:
            sizes.append(-1)
    return sizes


def _emit_view(form: Form, value: Any, target: Target) -> Any:
    found = layout(form)
    assert found is not None
    order, sizes = found
    if order != sorted(order):
        value = target.node("Transpose", [value], {"perm": order})
    if sizes is None:
        return value
    shape = target.editor.constant(f"{target.hint}_shape", np.array(sizes, np.int64), "int64")
    return target.node("Reshape", [value, shape])
