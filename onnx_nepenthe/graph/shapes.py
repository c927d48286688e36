"""Shapes that follow from the inputs, whatever the file says of the values between.

Files are edited: the batch is set free on the inputs, and what the exporter noted of every other value still says 1.
Runtimes warn and go on, so a shape that is only stated must not decide what is exact.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnx_nepenthe.graph.sizes import name_equal_sizes


def with_shapes(model: ir.Model) -> ir.Model:
    """A copy of `model` with the shapes of the main graph's values inferred.

    A stated shape is used where nothing can be inferred (operators that ONNX does not know), and for single unknown
    sizes where it cannot be out of date: when every input has numbers for sizes.
    """
    copy = model.clone()
    stated = {value: value.shape for value in _computed(copy.graph) if value.shape is not None}
    for value in stated:
        value.shape = None
    disputed = [node for node in copy.graph if _is_disputed(node)]
    for node in disputed:
        node.op_type = "Disputed"
    _infer(copy)
    if _complete(copy, stated):
        _infer(copy)
    for node in disputed:
        node.op_type = "ConvTranspose"
    name_equal_sizes(copy.graph)
    return copy


def _is_disputed(node: ir.Node) -> bool:
    """Whether onnx infers another size than onnxruntime computes: it adds the output padding to what SAME settles."""
    if node.op_type != "ConvTranspose" or node.domain not in ("", "ai.onnx") or "output_padding" not in node.attributes:
        return False
    mode = node.attributes.get("auto_pad")
    return mode is not None and mode.value in ("SAME_UPPER", "SAME_LOWER")


def _infer(model: ir.Model) -> None:
    logging.getLogger("onnx_ir.passes.common.shape_inference").setLevel(logging.ERROR)
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def _computed(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs


def _complete(model: ir.Model, stated: dict[ir.Value, ir.Shape]) -> bool:
    """Fill in what was not inferred; whether that told anything new."""
    fixed = all(value.shape is not None and value.shape.is_static() for value in model.graph.inputs)
    told = False
    for value, shape in stated.items():
        if value.shape is None:
            value.shape, told = shape, True
        elif fixed and len(shape) == len(value.shape):
            sizes = [old if isinstance(old, int) else new for old, new in zip(value.shape, shape, strict=True)]
            told = told or sizes != list(value.shape)
            value.shape = ir.Shape(sizes)
    return told
