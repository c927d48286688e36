"""Small models for timing: one form from scratch, or a part cut out of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.opview import Tensor

INPUT = "x"


def blank(shape: Sequence[int], dtype: str, like: Model) -> Model:
    """A model with one input `x` of this shape and ONNX type ("float"), no operators and no outputs."""
    value = ir.val(INPUT, dtype=ir.DataType[dtype.upper()], shape=ir.Shape(shape))
    version = like.opset_imports.get("", 1)
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": version}, name="snippet")
    return ir.Model(graph, ir_version=like.ir_version)


@dataclass(frozen=True)
class Entrance:
    """Where a part of a model begins: a value, its concrete shape and its ONNX type ("float")."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def cut(model: Model, inputs: Sequence[Entrance], outputs: Sequence[str]) -> Model:
    """The part of `model` between `inputs` and `outputs`.

    Raises:
        ValueError: `outputs` need more than `inputs` and constants.
    """
    copy = model.clone()
    graph = ir.convenience.extract(copy.graph, [entrance.name for entrance in inputs], list(outputs))
    for value, entrance in zip(graph.inputs, inputs, strict=True):
        value.shape = ir.Shape(entrance.shape)
        value.type = ir.TensorType(ir.DataType[entrance.dtype.upper()])
    for node in graph:
        for value in node.outputs:
            value.shape = None
    graph.opset_imports.update(model.opset_imports)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(copy.functions.values()))


def rest(model: Model, start: Tensor, outputs: Sequence[str]) -> Model:
    """The part of `model` from one value on, whose sizes are left as open as they are.

    Raises:
        ValueError: `outputs` need more than `start` and constants, or its shape or type is unknown.
    """
    if start.shape is None or not start.dtype:
        raise ValueError(f"the shape or type of {start.name} is unknown")
    part = cut(model, [Entrance(start.name, (), start.dtype)], outputs)
    part.graph.inputs[0].shape = ir.Shape(start.shape)
    return part


def made_in(model: Model) -> frozenset[str]:
    """Names of all that the operators of the main graph make."""
    return frozenset(value.name for node in model.graph for value in node.outputs if value.name)


def with_outputs(model: Model, names: Sequence[str]) -> Model:
    """A copy of `model` that gives these values, in this order, instead of its outputs."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    copy.graph.outputs[:] = [values[name] for name in names]
    return copy
