"""Sizes known only at run time that are equal whatever they are get one name.

Shape inference names the batch anew after Reshape(-1) and Resize, and height and width after every convolution. A sum
of two branches can then not be told from one that broadcasts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from math import prod

import numpy as np
import onnx_ir as ir

Found = Iterator[tuple[int, Hashable]]
"""(axis of the result, what its size follows from): equal keys mean equal sizes, and a name is that size itself."""


def name_equal_sizes(graph: ir.Graph) -> None:
    """Rename symbolic sizes of the values of `graph` in place; names of its inputs stay."""
    kept = {name for value in graph.inputs for name in _names(value)}
    same: dict[str, str] = {}
    seen: dict[Hashable, str] = {}
    for node in graph:
        for value in node.outputs:
            _rename(value, same)
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or any(value is None or value.shape is None for value in (node.inputs[0], node.outputs[0])):
            continue
        for axis, key in rule(node):
            name = _name(node.outputs[0], axis)
            found = key if isinstance(key, str) else seen.setdefault(key, name) if name else ""
            if name and found != name and name not in kept:
                same[name] = found
        _rename(node.outputs[0], same)


def _window(node: ir.Node) -> Found:
    """Convolutions and pools: floor((size + pads - reach) / stride) + 1."""
    source, result = _shape(node.inputs[0]), _shape(node.outputs[0])
    kernel = _ints(node, "kernel_shape")
    if not kernel and node.op_type == "Conv" and node.inputs[1] is not None and node.inputs[1].shape is not None:
        kernel = [size if isinstance(size, int) else 0 for size in node.inputs[1].shape[2:]]
    rank = len(source) - 2
    if rank < 1 or len(kernel) != rank or len(result) != len(source) or not all(kernel):
        return
    strides, dilations = (_ints(node, name) or [1] * rank for name in ("strides", "dilations"))
    pads = _ints(node, "pads") or [0] * (2 * rank)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    ceil = node.attributes.get_int("ceil_mode", 0)
    for at in range(rank):
        reach = dilations[at] * (kernel[at] - 1)
        spare = {"NOTSET": pads[at] + pads[at + rank] - reach, "VALID": -reach}.get(auto or "NOTSET", 0)
        size = source[at + 2]
        if isinstance(size, str):
            yield at + 2, size if spare == 0 and strides[at] == 1 else (size, spare, strides[at], ceil)


def _reshape(node: ir.Node) -> Found:
    """What is left over by -1 is the one size that is not known, if the others come out even."""
    source, target = _shape(node.inputs[0]), _constant(node, 1)
    unknown = [size for size in source if not isinstance(size, int)]
    if target is None or len(unknown) != 1 or not unknown[0] or 0 in source:
        return
    sizes = target.reshape(-1).tolist()
    left = [axis for axis, size in enumerate(sizes) if size == -1]
    known = prod(size for size in source if isinstance(size, int))
    if len(left) == 1 and 0 not in sizes and prod(size for size in sizes if size != -1) == known:
        yield left[0], unknown[0]


def _resize(node: ir.Node) -> Found:
    """Axes that are scaled by 1."""
    scales = _constant(node, 2 if len(node.inputs) > 2 else 1)
    source = _shape(node.inputs[0])
    if scales is None or len(scales) != len(source) or len(node.inputs) > 3:
        return
    for axis, (size, scale) in enumerate(zip(source, scales.tolist(), strict=True)):
        if scale == 1 and isinstance(size, str):
            yield axis, size


def _broadcast(node: ir.Node) -> Found:
    """Axes on which every operand is one wide or has the one size."""
    shapes = [_shape(value) for value in node.inputs if value is not None and value.shape is not None]
    rank = max(map(len, shapes))
    if len(shapes) < len(node.inputs):
        return
    for axis in range(rank):
        sizes = {shape[axis - rank] for shape in shapes if len(shape) >= rank - axis} - {1}
        size = sizes.pop() if len(sizes) == 1 else None
        if isinstance(size, str):
            yield axis, size


_RULES: dict[str, Callable[[ir.Node], Found]] = {
    "Conv": _window,
    "MaxPool": _window,
    "AveragePool": _window,
    "Reshape": _reshape,
    "Resize": _resize,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "PRelu", "Pow"), _broadcast),
}


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    """The value of an input that no caller can change."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def _ints(node: ir.Node, name: str) -> list[int]:
    return list(node.attributes.get_ints(name, ()) or ())


def _shape(value: ir.Value | None) -> tuple[int | str | None, ...]:
    shape = None if value is None else value.shape
    return () if shape is None else tuple(size if isinstance(size, int) else size.value for size in shape)


def _names(value: ir.Value) -> list[str]:
    return [size for size in _shape(value) if isinstance(size, str)]


def _name(value: ir.Value, axis: int) -> str:
    sizes = _shape(value)
    size = sizes[axis] if axis < len(sizes) else None
    return size if isinstance(size, str) else ""


def _rename(value: ir.Value, same: dict[str, str]) -> None:
    if any(name in same for name in _names(value)):
        value.shape = ir.Shape([same.get(size, size) if isinstance(size, str) else size for size in _shape(value)])
