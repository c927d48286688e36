"""Compute what operators make of constants alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.graph.mended import MENDED
from onnx_nepenthe.opview import OpView, Shape

Array = npt.NDArray[Any]
LARGEST_RESULT = 1 << 20
"""Elements of the largest computed constant (4 MiB of float32): a file must not grow by what one operator repeats."""
FOLDED_TYPES = frozenset({"float", "float16", "double", "bfloat16", "int32", "int64", "bool"})
_RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_QUANTISED = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})
"""Left alone on purpose: runtimes look for them around the operators they run in integers."""


def evaluate_constants(view: OpView, dtypes: Sequence[str]) -> tuple[Array, ...] | None:
    """The outputs of an operator whose operands are all constants, else None; computed by `onnx.reference`.

    Operators with subgraphs or random results, quantisers, types other than `FOLDED_TYPES` and results of unknown or
    large size are left to the runtime, and so is whatever `onnx.reference` cannot compute.

    Args:
        view: the operator.
        dtypes: ONNX names of the types of its outputs.
    """
    if view.domain not in ("", "ai.onnx") or view.has_subgraph or view.op_type in _RANDOM | _QUANTISED:
        return None
    operands = [operand for operand in view.inputs if operand is not None]
    if not operands or any(operand.constant is None for operand in operands):
        return None
    if not set(dtypes) <= FOLDED_TYPES or any(not _is_small(shape) for shape in view.output_shapes):
        return None
    try:
        results = _evaluated(view)
    except Exception:
        # onnx.reference raises whatever its Python comes across.
        return None
    fits = zip(results, view.output_shapes, dtypes, strict=True)
    return tuple(results) if all(_is_expected(*result) for result in fits) else None


def _is_small(shape: Shape | None) -> bool:
    sizes = [size for size in shape or () if isinstance(size, int)]
    return shape is not None and len(sizes) == len(shape) and prod(sizes) <= LARGEST_RESULT


def _is_expected(result: object, shape: Shape | None, dtype: str) -> bool:
    if not isinstance(result, np.ndarray | np.generic) or np.shape(result) != shape:
        return False
    return ir.DataType.from_numpy(result.dtype).name.lower() == dtype


def _evaluated(view: OpView) -> list[Array]:
    """All outputs, by a model of the operator alone."""
    operands = {operand.name: ir.Value(name=operand.name) for operand in view.inputs if operand is not None}
    inputs = [None if operand is None else operands[operand.name] for operand in view.inputs]
    attributes = {k: ir.tensor(v) if isinstance(v, np.ndarray) else v for k, v in view.attributes.items()}
    outputs = [ir.Value(name=name) for name in view.outputs]
    node = ir.node(view.op_type, inputs, attributes, outputs=outputs)
    graph = ir.Graph(list(operands.values()), outputs, nodes=[node], opset_imports={"": view.version}, name="constant")
    feeds = {operand.name: operand.constant for operand in view.inputs if operand is not None}
    with np.errstate(all="ignore"):
        return [*ReferenceEvaluator(ir.to_proto(ir.Model(graph, ir_version=10)), new_ops=[*MENDED]).run(None, feeds)]
