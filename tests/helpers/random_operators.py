"""What random graphs are made of: each function appends one operator, or nothing where none fits."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.build import NUMPY, TYPES
from tests.helpers.random_graphs import RandomGraph, Shape, Value, _fits, window

Append = Callable[[RandomGraph], object]


def _image(g: RandomGraph) -> Value | None:
    value = g.latest()
    if value.rank in (3, 4, 5):
        return value
    images = [value for value in g.values if value.rank in (3, 4, 5)]
    return g.draw.choice(images) if images else None


def conv(g: RandomGraph) -> Value | None:
    """Any geometry; dense, grouped or depthwise."""
    x = _image(g)
    if x is None:
        return None
    channels = x.shape[1]
    groups = g.draw.choice((1, 1, 1, channels, *(d for d in range(1, channels + 1) if channels % d == 0)))
    kernel = g.draw.choice(([1], [1], [3], [3], [2], [1, 3, 2])) * 3
    kernel = kernel[: x.rank - 2]
    attributes, sizes = window(g, x.shape[2:], kernel, dilated=True)
    outputs = groups * g.draw.integer(1, max(1, 4 // groups))
    shape = (x.shape[0], outputs, *sizes)
    if not _fits(shape):
        return None
    inputs = [x.name, g.weight(g.normal(outputs, channels // groups, *kernel))]
    if g.draw.integer(0, 2):
        inputs.append(g.weight(g.normal(outputs)))
    elif g.draw.chance(4):
        inputs.append("")
    if g.draw.chance(2):
        attributes["kernel_shape"] = kernel
    if groups > 1:
        attributes["group"] = groups
    return g.operator("Conv", inputs, shape, **attributes)


def zero_taps(g: RandomGraph) -> Value | None:
    """A convolution that is zero outside of a window of its taps."""
    y = conv(g)
    stored = {tensor.name: tensor for tensor in g.builder.initializers}
    tensor = None if y is None else stored.get(g.builder.nodes[-1].input[1])
    if tensor is not None:
        array = numpy_helper.to_array(tensor)
        begins = [g.draw.integer(0, size - 1) for size in array.shape[2:]]
        ends = [g.draw.integer(b + 1, size) for b, size in zip(begins, array.shape[2:], strict=True)]
        window = (..., *(slice(b, e) for b, e in zip(begins, ends, strict=True)))
        kept = np.zeros_like(array)
        kept[window] = array[window]
        tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))
    return y


def padded_twice(g: RandomGraph) -> Value | None:
    """Zeros around, then something that moves them, then a padded convolution."""
    x = _image(g)
    if x is None:
        return None
    spatial = x.rank - 2
    pads = g.draw.integers(2 * spatial, 0, 1)
    shape = (*x.shape[:2], *(n + b + e for n, b, e in zip(x.shape[2:], pads, pads[spatial:], strict=False)))
    if not _fits(shape):
        return None
    if g.opset < 11:
        y = g.operator("Pad", [x.name], shape, pads=[0, 0, *pads[:spatial], 0, 0, *pads[spatial:]])
    else:
        y = g.operator("Pad", [x.name, g.ints([0, 0, *pads[:spatial], 0, 0, *pads[spatial:]])], shape)
    if g.draw.chance(2):
        y = g.operator("Add", [y.name, g.weight(g.normal(shape[1], *(1,) * spatial))], shape)
    weight = g.weight(g.normal(2, shape[1], *(3,) * spatial))
    return g.operator("Conv", [y.name, weight], (shape[0], 2, *shape[2:]), pads=[1] * (2 * spatial))


def conv_transpose(g: RandomGraph) -> Value | None:
    """Mostly of stride 1."""
    x = _image(g)
    if x is None:
        return None
    spatial, channels = x.rank - 2, x.shape[1]
    groups = g.draw.choice((1, channels))
    kernel = g.draw.integers(spatial, 1, 3)
    strides = [2] * spatial if g.draw.chance(5) else [1] * spatial
    dilations = g.draw.integers(spatial, 1, 2) if g.draw.chance(4) else [1] * spatial
    pads = g.draw.integers(2 * spatial, 0, 1)
    per_group = g.draw.integer(1, 2)
    geometry = zip(x.shape[2:], kernel, strides, dilations, pads, pads[spatial:], strict=False)
    sizes = [(n - 1) * s + (k - 1) * d + 1 - p - q for n, k, s, d, p, q in geometry]
    shape = (x.shape[0], groups * per_group, *sizes)
    if not _fits(shape):
        return None
    weight = g.weight(g.normal(channels, per_group, *kernel))
    biases = [g.weight(g.normal(groups * per_group))] if g.draw.chance(2) else []
    at = {"strides": strides, "dilations": dilations, "pads": pads, "group": groups, "kernel_shape": kernel}
    return g.operator("ConvTranspose", [x.name, weight, *biases], shape, **at)


def gemm(g: RandomGraph) -> Value | None:
    """All flags, addends of every shape that is broadcast."""
    x = g.latest()
    if x.rank > 2 and g.draw.chance(2):
        x = g.operator("Flatten", [x.name], (x.shape[0], prod(x.shape[1:])))
    if x.rank != 2:
        return None
    turned = g.draw.chance(12)
    rows, features = x.shape[::-1] if turned else x.shape
    outputs = g.draw.integer(1, 5)
    weight = g.normal(outputs, features)
    attributes: dict[str, Any] = {"transA": 1} if turned else {}
    if g.draw.chance(2):
        attributes["transB"] = 1
    else:
        weight = weight.T.copy()
    if g.draw.chance(4):
        attributes |= {"alpha": g.draw.choice((0.5, -1.5)), "beta": g.draw.choice((2.0, 0.0))}
    addends: list[Shape] = [(outputs,), (outputs,), (outputs,), (1, outputs), (1,), (), (rows, outputs), (rows, 1)]
    inputs = [x.name, g.weight(weight)]
    if g.opset < 11 or g.draw.integer(0, 4):
        inputs.append(g.weight(g.normal(*g.draw.choice(addends))))
    return g.operator("Gemm", inputs, (rows, outputs), **attributes)


def head(g: RandomGraph) -> Value | None:
    """A matrix product of everything, whatever the order of the axes."""
    x = _image(g)
    if x is None:
        return None
    if g.draw.chance(2):
        perm = g.draw.choice(([0, *range(2, x.rank), 1], [0, x.rank - 1, *range(1, x.rank - 1)]))
        x = g.operator("Transpose", [x.name], [x.shape[axis] for axis in perm], perm=perm)
    features = prod(x.shape[1:])
    if g.draw.chance(2):
        flat = g.operator("Flatten", [x.name], (x.shape[0], features))
    else:
        flat = g.operator("Reshape", [x.name, g.ints([g.draw.choice((0, x.shape[0])), -1])], (x.shape[0], features))
    return g.operator("Gemm", [flat.name, g.weight(g.normal(features, 3)), g.weight(g.normal(3))], (x.shape[0], 3))


def matmul(g: RandomGraph) -> Value | None:
    """By a matrix on either side, a batch of them, or a vector."""
    x = g.latest()
    if x.rank < 2:
        return None
    outputs = g.draw.integer(1, 5)
    match g.draw.integer(0, 7):
        case 0:
            return g.operator(
                "MatMul", [g.weight(g.normal(outputs, x.shape[-2])), x.name], (*x.shape[:-2], outputs, x.shape[-1])
            )
        case 1:
            return g.operator("MatMul", [x.name, g.weight(g.normal(x.shape[-1]))], x.shape[:-1])
        case 2 if x.rank == 3:
            weight = g.weight(g.normal(x.shape[0], x.shape[-1], outputs))
            return g.operator("MatMul", [x.name, weight], (*x.shape[:-1], outputs))
    weight = g.weight(g.normal(outputs, x.shape[-1]).T.copy())
    return g.operator("MatMul", [x.name, weight], (*x.shape[:-1], outputs))


def arithmetic(g: RandomGraph) -> Value | None:
    """With a constant on either side: one number, per any axis, or one per entry."""
    x = g.latest()
    op_type = g.draw.choice(("Add", "Sub", "Mul", "Div"))
    axis = g.draw.choice((1 if x.rank > 1 else 0, g.draw.integer(0, max(0, x.rank - 1)))) if x.rank else 0
    kinds: list[Shape] = [(), (1,), (1,) * x.rank]
    if x.rank:
        kinds += [(x.shape[axis], *(1,) * (x.rank - axis - 1))] * 4
        kinds += [(*(1,) * axis, x.shape[axis], *(1,) * (x.rank - axis - 1)), x.shape, x.shape[1:], (1, *x.shape)]
    shape = g.draw.choice(kinds)
    result = np.broadcast_shapes(shape, x.shape)
    if len(result) > 5 or not _fits(result):
        return None
    divisor = op_type == "Div"
    operands = [x.name, g.builder.constant(g.builder.positive(*shape)) if divisor else g.weight(g.normal(*shape))]
    if g.draw.chance(2) and not divisor:
        operands.reverse()
    return g.operator(op_type, operands, result)


def residual(g: RandomGraph) -> Value | None:
    """The sum or difference of two values of one shape, of three, or of two that are broadcast."""
    x = g.latest()
    y = g.other(x.shape)
    if y is None:
        return None
    match g.draw.integer(0, 6):
        case 0:
            z = g.other(x.shape) or y
            return g.operator("Sum", [x.name, y.name, z.name], x.shape)
        case 1:
            return g.operator("Sub", [x.name, y.name], x.shape)
        case 2:
            z = g.draw.choice(g.values)
            try:
                shape = np.broadcast_shapes(x.shape, z.shape)
            except ValueError:
                return None
            return g.operator("Add", [x.name, z.name], shape) if _fits(shape) else None
    return g.operator("Add", [x.name, y.name], x.shape)


def bypass(g: RandomGraph) -> Value | None:
    """x plus a convolution or matrix product of x that keeps its shape."""
    x = g.latest()
    if x.rank < 2:
        return None
    if x.rank == 2:
        y = g.operator("MatMul", [x.name, g.weight(g.normal(x.shape[1], x.shape[1]))], x.shape)
    else:
        size, channels = g.draw.choice((1, 3)), x.shape[1]
        kernel = [size] * (x.rank - 2)
        weight = g.weight(g.normal(channels, channels, *kernel))
        biases = [g.weight(g.normal(channels))] if g.draw.chance(2) else []
        pads = [size // 2] * (2 * x.rank - 4)
        y = g.operator("Conv", [x.name, weight, *biases], x.shape, pads=pads)
    return g.operator("Add", g.draw.choice(([x.name, y.name], [y.name, x.name])), x.shape)


def lined_sum(g: RandomGraph) -> Value | None:
    """Something bent and then weighted beside x, or beside another such, summed; lines behind the sum."""
    x = g.latest()
    if x.rank < 2:
        return None
    made = _weighted(g, x)
    other = g.draw.choice((x, x, g.other(x.shape) or x)) if g.draw.integer(0, 2) else _weighted(g, x)
    names = [made.name, other.name] if g.draw.chance(2) else [other.name, made.name]
    y = g.operator(g.draw.choice(("Add", "Add", "Sub")), names, x.shape)
    for _ in range(g.draw.integer(0, 3)):
        line = g.weight(g.normal(*g.draw.choice(((x.shape[1], *(1,) * (x.rank - 2)), (1,)))))
        names = [y.name, line] if g.draw.chance(2) else [line, y.name]
        y = g.operator(g.draw.choice(("Add", "Add", "Add", "Sub", "Mul")), names, x.shape)
    return y


def _weighted(g: RandomGraph, x: Value) -> Value:
    """A convolution or matrix product of something that is not affine in x, of its shape."""
    bent = g.operator(g.draw.choice(("Sigmoid", "Tanh", "Relu")), [x.name], x.shape)
    if x.rank == 2:
        return g.operator("MatMul", [bent.name, g.weight(g.normal(x.shape[1], x.shape[1]))], x.shape)
    size, channels = g.draw.choice((1, 3)), x.shape[1]
    weight = g.weight(g.normal(channels, channels, *[size] * (x.rank - 2)))
    biases = [g.weight(g.normal(channels))] if g.draw.chance(2) else []
    return g.operator("Conv", [bent.name, weight, *biases], x.shape, pads=[size // 2] * (2 * x.rank - 4))


def batch_norm(g: RandomGraph) -> Value | None:
    """Channels on axis 1, its own epsilon now and then."""
    x = g.latest()
    if x.rank < 2:
        return None
    channels = x.shape[1]
    numbers = [g.weight(array) for array in (g.builder.positive(channels), g.normal(channels), g.normal(channels))]
    variance = g.builder.constant(g.builder.positive(channels))
    attributes: dict[str, Any] = {"epsilon": 0.01} if g.draw.chance(3) else {}
    return g.operator("BatchNormalization", [x.name, *numbers, variance], x.shape, **attributes)


def concat(g: RandomGraph) -> Value | None:
    """Two or three values that differ on one axis at most."""
    x = g.latest()
    if not x.rank:
        return None
    axis = g.draw.choice((min(1, x.rank - 1), g.draw.integer(0, x.rank - 1)))
    rest = [v for v in g.values if v.rank == x.rank and _without(v.shape, axis) == _without(x.shape, axis)]
    parts = [x, *(g.draw.choice(rest) for _ in range(g.draw.integer(1, 2)))]
    shape = (*x.shape[:axis], sum(part.shape[axis] for part in parts), *x.shape[axis + 1 :])
    if not _fits(shape):
        return None
    if g.opset >= 11 and g.draw.chance(3):
        axis -= x.rank
    return g.operator("Concat", [part.name for part in parts], shape, axis=axis)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def split(g: RandomGraph) -> Value | None:
    """Two parts of given or equal sizes."""
    x = g.latest()
    axes = [axis for axis, size in enumerate(x.shape) if size > 1]
    if not axes:
        return None
    axis = 1 if 1 in axes and g.draw.integer(0, 3) else g.draw.choice(axes)
    size = x.shape[axis]
    first = g.draw.integer(1, size - 1)
    inputs, attributes = [x.name], {"axis": axis}
    if size % 2 == 0 and g.draw.chance(3):
        first = size // 2
        attributes |= {"num_outputs": 2} if g.opset >= 18 else {}
    elif g.opset < 13:
        attributes["split"] = [first, size - first]
    else:
        inputs.append(g.ints([first, size - first]))
    names = g.builder.node_n("Split", *inputs, outs=[g.builder.fresh("v"), g.builder.fresh("v")], **attributes)
    for name, part in zip(names, (first, size - first), strict=True):
        g.value(name, (*x.shape[:axis], part, *x.shape[axis + 1 :]))
    return None


def slice_(g: RandomGraph) -> Value | None:
    """One or two axes, negative bounds and steps among them."""
    x = g.latest()
    if not x.rank:
        return None
    axes = sorted({min(1, x.rank - 1), g.draw.integer(0, x.rank - 1)}) if g.draw.chance(3) else [min(1, x.rank - 1)]
    starts, ends, steps, shape = [], [], [], list(x.shape)
    for axis in axes:
        size = x.shape[axis]
        start = g.draw.integer(0, size - 1)
        end = g.draw.integer(start + 1, size)
        step = 2 if g.opset >= 10 and g.draw.chance(6) else 1
        shape[axis] = len(range(start, end, step))
        starts.append(start - size if g.draw.chance(3) and start else start)
        ends.append(2**31 if end == size and g.draw.chance(2) else end)
        steps.append(step)
    if g.opset < 10:
        return g.operator("Slice", [x.name], shape, starts=starts, ends=ends, axes=axes)
    inputs = [g.ints(starts), g.ints(ends), g.ints(axes), *([g.ints(steps)] if max(steps) > 1 else [])]
    return g.operator("Slice", [x.name, *inputs], shape)


def pad(g: RandomGraph) -> Value | None:
    """Mostly zeros in space; other numbers, other modes, other axes and negative pads now and then."""
    x = _image(g)
    if x is None:
        return None
    begins, ends = ([0, 0, *g.draw.integers(x.rank - 2, 0, 2)] for _ in range(2))
    if g.draw.chance(5):
        begins[g.draw.integer(0, x.rank - 1)] += 1
    if g.draw.chance(6):
        ends[g.draw.integer(2, x.rank - 1)] = -1
    shape = [b + n + e for b, n, e in zip(begins, x.shape, ends, strict=True)]
    if not _fits(shape):
        return None
    value = 0.5 if g.draw.chance(5) else 0.0
    mode = g.draw.choice(("constant",) * 6 + ("edge",))
    if mode == "edge" and (min(begins + ends) < 0):
        mode = "constant"
    if g.opset < 11:
        return g.operator("Pad", [x.name], shape, pads=begins + ends, mode=mode, value=value)
    values = [g.number(value)] if value or g.draw.chance(2) else []
    if g.opset >= 18 and g.draw.chance(3):
        some = [axis for axis in range(x.rank) if begins[axis] or ends[axis]] or [2]
        pads = g.ints([begins[axis] for axis in some] + [ends[axis] for axis in some])
        return g.operator("Pad", [x.name, pads, *(values or [""]), g.ints(some)], shape, mode=mode)
    return g.operator("Pad", [x.name, g.ints(begins + ends), *values], shape, mode=mode)


def average_pool(g: RandomGraph) -> Value | None:
    """With and without the padding counted; over everything now and then."""
    x = _image(g)
    if x is None:
        return None
    everything = g.draw.chance(4)
    kernel = list(x.shape[2:]) if everything else g.draw.integers(x.rank - 2, 1, 3)
    attributes, sizes = (
        ({}, (1,) * (x.rank - 2)) if everything else window(g, x.shape[2:], kernel, dilated=g.opset >= 19, shy=True)
    )
    shape = (*x.shape[:2], *sizes)
    if not _fits(shape):
        return None
    if g.draw.chance(2):
        attributes["count_include_pad"] = 1
    return g.operator("AveragePool", [x.name], shape, kernel_shape=kernel, **attributes)


def mean(g: RandomGraph) -> Value | None:
    """Over space, by either operator; over other axes now and then."""
    x = _image(g)
    if x is None:
        return None
    ones = (1,) * (x.rank - 2)
    if g.draw.chance(2):
        return g.operator("GlobalAveragePool", [x.name], (*x.shape[:2], *ones))
    axes = list(range(2, x.rank))
    if g.draw.chance(4):
        axes = [g.draw.integer(0, x.rank - 1)]
    keep = g.draw.chance(2)
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    shape = kept if keep else [size for axis, size in enumerate(x.shape) if axis not in axes]
    if g.opset >= 11 and g.draw.chance(3):
        axes = [axis - x.rank for axis in axes]
    if g.opset < 18:
        return g.operator("ReduceMean", [x.name], shape, axes=axes, keepdims=int(keep))
    return g.operator("ReduceMean", [x.name, g.ints(axes)], shape, keepdims=int(keep))


def flatten(g: RandomGraph) -> Value | None:
    """At any axis."""
    x = g.latest()
    if x.rank < 2:
        return None
    axis = g.draw.choice((1, 1, 1, g.draw.integer(0, x.rank)))
    return g.operator("Flatten", [x.name], (prod(x.shape[:axis]), prod(x.shape[axis:])), axis=axis)


def reshape(g: RandomGraph) -> Value | None:
    """Merge two neighbours, split one axis, or regroup everything; sizes as numbers, 0 or -1."""
    x = g.latest()
    if x.rank < 1:
        return None
    shape, target = list(x.shape), [0 if g.draw.chance(2) else size for size in x.shape]
    at = g.draw.integer(0, x.rank - 1)
    match g.draw.integer(0, 3):
        case 0 if at + 1 < x.rank:
            merged = x.shape[at] * x.shape[at + 1]
            shape[at : at + 2], target[at : at + 2] = [merged], [g.draw.choice((-1, merged))]
            target[at + 1 :] = shape[at + 1 :]
        case 1 if x.rank < 5:
            divisors = [d for d in range(1, x.shape[at] + 1) if x.shape[at] % d == 0]
            part = g.draw.choice(divisors)
            shape[at : at + 1] = [x.shape[at] // part, part]
            target[at : at + 1] = g.draw.choice(([-1, part], [x.shape[at] // part, part]))
            target[at + 2 :] = shape[at + 2 :]
        case 2:
            shape, target = [x.shape[0], prod(x.shape[1:])], [g.draw.choice((0, x.shape[0])), -1]
    return g.operator("Reshape", [x.name, g.ints(target)], shape)


def transpose(g: RandomGraph) -> Value | None:
    """Any order of axes; channels to the end and back most often."""
    x = g.latest()
    if x.rank < 2:
        return None
    rest = list(range(1, x.rank))
    orders = [[0, *rest[1:], 1], [0, x.rank - 1, *rest[:-1]], list(reversed(range(x.rank)))]
    perm = g.draw.choice(orders)
    return g.operator("Transpose", [x.name], [x.shape[axis] for axis in perm], perm=perm)


def squeeze(g: RandomGraph) -> Value | None:
    """Take an axis of size 1 out, or put one in."""
    x = g.latest()
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    if ones and g.draw.chance(2):
        op_type, at = "Squeeze", g.draw.choice(ones)
        shape = _without(x.shape, at)
    elif x.rank < 5:
        op_type, at = "Unsqueeze", g.draw.integer(0, x.rank)
        shape = (*x.shape[:at], 1, *x.shape[at:])
    else:
        return None
    if g.opset < 13:
        return g.operator(op_type, [x.name], shape, axes=[at])
    return g.operator(op_type, [x.name, g.ints([at])], shape)


def idle(g: RandomGraph) -> Value | None:
    """Identity, Dropout as in inference, Cast there and back, or Neg."""
    x = g.latest()
    match g.draw.integer(0, 4):
        case 0:
            outs = [g.builder.fresh("v") for _ in range(2 if g.draw.chance(4) else 1)]
            return g.value(g.builder.node_n("Dropout", x.name, outs=outs)[0], x.shape)
        case 1:
            there = TensorProto.FLOAT if g.builder.dtype == "double" else TensorProto.DOUBLE
            return g.operator("Cast", [g.builder.node("Cast", x.name, to=there)], x.shape, to=TYPES[g.builder.dtype])
        case 2:
            return g.operator("Neg", [x.name], x.shape)
    return g.operator("Identity", [x.name], x.shape)


def rectifier(g: RandomGraph) -> Value | None:
    """One operator that bends."""
    x = g.latest()
    op_type = g.draw.choice(("Relu", "Relu", "Relu", "Sigmoid", "Abs", "LeakyRelu", "PRelu", "Clip", "Max", "Tanh"))
    match op_type:
        case "LeakyRelu":
            return g.operator(op_type, [x.name], x.shape, alpha=g.draw.choice((0.1, 1.0)))
        case "PRelu":
            slope = g.builder.positive(x.shape[1], *(1,) * (x.rank - 2)) if x.rank > 1 else g.builder.positive(1)
            return g.operator(op_type, [x.name, g.weight(slope)], x.shape)
        case "Clip":
            return _clip(g, x)
        case "Max":
            if g.opset < 8:
                return None
            operands = [x.name, g.number(g.draw.choice((0.0, 0.0, -0.5)))]
            return g.operator(g.draw.choice(("Max", "Min")), operands, x.shape)
    return g.operator(op_type, [x.name], x.shape)


def _clip(g: RandomGraph, x: Value) -> Value:
    low, high = g.draw.choice(((0.0, 6.0), (0.0, 6.0), (-1.0, 0.5), (0.5, 0.25), (-3.0, -1.0)))
    if g.opset < 11:
        return g.operator("Clip", [x.name], x.shape, min=low, max=high)
    ends = [g.number(low), g.number(high)]
    if g.draw.chance(4):
        ends = g.draw.choice(([ends[0]], ["", ends[1]]))
    return g.operator("Clip", [x.name, *ends], x.shape)


def off(g: RandomGraph) -> Value | None:
    """A rectifier that is proved to be always off, or on the other piece of some channels."""
    x = g.latest()
    y = g.operator(g.draw.choice(("Sigmoid", "Relu", "Abs")), [x.name], x.shape)
    match g.draw.integer(0, 2):
        case 0:
            y = g.operator("Neg", [y.name], x.shape)
        case 1 if x.rank > 1:
            signs = g.builder.rng.choice([-1.0, 1.0], (x.shape[1], *(1,) * (x.rank - 2))).astype(NUMPY[g.builder.dtype])
            y = g.operator("Mul", [y.name, g.weight(signs)], x.shape)
        case _:
            y = g.operator("Sub", [y.name, g.number(2.0)], x.shape)
    return g.operator("Relu", [y.name], x.shape)


def max_pool(g: RandomGraph) -> Value | None:
    """A nonlinear operator that keeps a sign."""
    x = _image(g)
    if x is None:
        return None
    kernel = g.draw.integers(x.rank - 2, 1, 2)
    shape = (*x.shape[:2], *(n - k + 1 for n, k in zip(x.shape[2:], kernel, strict=True)))
    if not _fits(shape):
        return None
    outs = [g.builder.fresh("v") for _ in range(2 if g.opset >= 8 and g.draw.chance(5) else 1)]
    return g.value(g.builder.node_n("MaxPool", x.name, outs=outs, kernel_shape=kernel)[0], shape)


def product(g: RandomGraph) -> Value | None:
    """Two values multiplied: a gate, or x * Sigmoid(x)."""
    x = g.latest()
    y = g.operator("Sigmoid", [(g.other(x.shape) or x).name], x.shape)
    return g.operator("Mul", [x.name, y.name], x.shape)


def branch(g: RandomGraph) -> Value | None:
    """An If whose bodies take values from outside."""
    x, y = g.latest(), g.draw.choice(g.values)
    kind = TYPES[g.builder.dtype]
    outer = g.draw.choice((y.name, g.weight(g.normal(2))))
    condition = g.builder.constant(np.array(g.draw.chance(2)))
    bodies = []
    for op_type in ("Neg", "Abs"):
        out = g.builder.fresh("b")
        info = helper.make_tensor_value_info(out, kind, [None] * x.rank)
        other = g.builder.fresh("b")
        nodes = [helper.make_node(op_type, [x.name], [out]), helper.make_node("Neg", [outer], [other])]
        bodies.append(helper.make_graph(nodes, g.builder.fresh("body"), [], [info]))
    return g.operator("If", [condition], x.shape, then_branch=bodies[0], else_branch=bodies[1])


OPERATORS: dict[str, Append] = {
    **{f"conv {i}": conv for i in range(5)},
    "padded_twice": padded_twice,
    "conv_transpose": conv_transpose,
    **{f"gemm {i}": gemm for i in range(2)},
    "head": head,
    "matmul": matmul,
    **{f"arithmetic {i}": arithmetic for i in range(3)},
    **{f"residual {i}": residual for i in range(2)},
    "bypass": bypass,
    "batch_norm": batch_norm,
    "concat": concat,
    "split": split,
    "slice": slice_,
    "pad": pad,
    "average_pool": average_pool,
    "mean": mean,
    "flatten": flatten,
    "reshape": reshape,
    "transpose": transpose,
    "squeeze": squeeze,
    "idle": idle,
    **{f"rectifier {i}": rectifier for i in range(2)},
    "off": off,
    "max_pool": max_pool,
    "product": product,
    "branch": branch,
    "lined_sum": lined_sum,
    **{f"zero_taps {i}": zero_taps for i in range(2)},
}
"""By weight: how often a name occurs is how likely its operator is."""
NEWEST = frozenset({lined_sum, zero_taps})
OLDER = {name: append for name, append in OPERATORS.items() if append not in NEWEST}
"""Those that seeds of graphs that went wrong once were drawn from."""
