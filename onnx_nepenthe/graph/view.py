"""Read an onnx_ir model into framework-free operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_nepenthe.graph.constants import fold_constant
from onnx_nepenthe.graph.folding import evaluate_constants
from onnx_nepenthe.graph.shapes import with_shapes
from onnx_nepenthe.opview import OpView, Shape, Tensor

IR_WITH_OVERRIDABLE_INITIALIZERS = 4


@dataclass(frozen=True)
class GraphView:
    """The main graph of a model, readable without onnx.

    Attributes:
        ops: every operator, in topological order; bodies of subgraphs are not entered.
        tensors: value name → what its consumers see.
        inputs: names that a caller must feed (initializers are not among them).
        outputs: names that a caller gets, in order; a name may occur twice.
        consumers: value name → positions in `ops` of the operators that take it as an operand.
        captured: names that subgraphs use; each counts as a use that cannot be rewritten.
        opsets: domain → version.
        ir_version: the model's.
        overridable: weights that are inputs too since IR 4; a caller may feed them, so they are not constants.
        computed: constants that operators of this graph compute, and that could stand in it as weights.
    """

    ops: tuple[OpView, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    consumers: Mapping[str, tuple[int, ...]]
    captured: frozenset[str]
    opsets: Mapping[str, int]
    ir_version: int
    overridable: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()

    def is_pinned(self, name: str) -> bool:
        """Whether something other than an operator of this graph needs the value."""
        return name in self.captured or name in self.outputs

    def op_of(self, name: str) -> OpView | None:
        """The operator that makes `name`, or None."""
        tensor = self.tensors.get(name)
        return None if tensor is None else tensor.producer


def view_from_model(model: ir.Model) -> GraphView:
    """Read `model` with inferred shapes; the model is not changed."""
    inferred = with_shapes(model)
    graph = inferred.graph
    tensors: dict[str, Tensor] = {}
    free = overridable(model)
    for value in (*graph.inputs, *graph.initializers.values()):
        name = value.name or ""
        array = None
        if name in graph.initializers and name not in free:
            array = _array(value.const_value)
        tensors[name] = Tensor(name, _shape(value), _dtype(value), array)
    ops: list[OpView] = []
    consumers: dict[str, list[int]] = {}
    captured: set[str] = set()
    computed: set[str] = set()
    for node in _sorted_nodes(graph):
        view = _op(node, tensors, inferred.opset_imports)
        for operand in view.inputs:
            if operand is not None:
                consumers.setdefault(operand.name, []).append(len(ops))
        captured |= _captures(node)
        ops.append(view)
        constants = _constants(view, node, computed)
        for index, value in enumerate(node.outputs):
            if value.name:
                constant = constants[index] if constants else None
                shape = _shape(value) if constant is None else tuple(constant.shape)
                tensors[value.name] = Tensor(value.name, shape, _dtype(value, constant), constant, view, index)
    return GraphView(
        ops=tuple(ops),
        tensors=tensors,
        inputs=tuple(v.name or "" for v in graph.inputs if v.name not in graph.initializers or v.name in free),
        outputs=tuple(v.name or "" for v in graph.outputs),
        consumers={name: tuple(at) for name, at in consumers.items()},
        captured=frozenset(captured),
        opsets=dict(inferred.opset_imports),
        ir_version=inferred.ir_version,
        overridable=free,
        computed=frozenset(computed),
    )


def overridable(model: ir.Model) -> frozenset[str]:
    """Initializers that a caller may feed: those that are inputs too, since IR 4.

    Before IR 4 every initializer had to be an input and runtimes take it for a constant:
    https://onnx.ai/onnx/repo-docs/IR.html#graphs.
    """
    if model.ir_version < IR_WITH_OVERRIDABLE_INITIALIZERS:
        return frozenset()
    names = {value.name for value in model.graph.inputs}
    return frozenset(name for name in model.graph.initializers if name in names)


def _sorted_nodes(graph: ir.Graph) -> list[ir.Node]:
    graph.sort()
    return list(graph)


def _op(node: ir.Node, tensors: Mapping[str, Tensor], opsets: Mapping[str, int]) -> OpView:
    attributes, has_subgraph = _attributes(node)
    return OpView(
        op_type=node.op_type,
        version=opsets.get(node.domain, 1),
        domain=node.domain,
        attributes=attributes,
        inputs=tuple(None if v is None or not v.name else tensors.get(v.name, Tensor(v.name)) for v in node.inputs),
        outputs=tuple(v.name or "" for v in node.outputs),
        output_shapes=tuple(_shape(v) for v in node.outputs),
        name=node.name or "",
        has_subgraph=has_subgraph,
    )


def _constants(view: OpView, node: ir.Node, computed: set[str]) -> tuple[npt.NDArray[Any], ...] | None:
    """The outputs if they are constants; their names join `computed` if they, or what is moved, had to be computed."""
    constants = fold_constant(view)
    if constants is not None and not any(operand is not None and operand.name in computed for operand in view.inputs):
        return constants
    if constants is None:
        constants = evaluate_constants(view, [_dtype(value) for value in node.outputs])
    if constants is not None:
        computed.update(name for name in view.outputs if name)
    return constants


def _attributes(node: ir.Node) -> tuple[dict[str, Any], bool]:
    found: dict[str, Any] = {}
    has_subgraph = False
    for name, attribute in node.attributes.items():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            has_subgraph = True
        elif attribute.type == ir.AttributeType.TENSOR:
            found[name] = _array(attribute.value)
        elif not attribute.is_ref():
            found[name] = attribute.value
    return found, has_subgraph


def _captures(node: ir.Node) -> set[str]:
    names: set[str] = set()
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    for body in bodies:
        for inner in body.all_nodes():
            names |= {v.name for v in inner.inputs if v is not None and v.name}
        names |= {v.name for v in body.outputs if v.name}
    return names


def _array(tensor: Any) -> npt.NDArray[Any] | None:
    if tensor is None:
        return None
    array: npt.NDArray[Any] = np.asarray(tensor.numpy())
    return array


def _shape(value: ir.Value) -> Shape | None:
    if value.shape is None:
        return None
    sizes = (dim if isinstance(dim, int) else dim.value for dim in value.shape)
    # Some exporters write -1 where they do not know.
    return tuple(None if isinstance(size, int) and size < 0 else size for size in sizes)


def _dtype(value: ir.Value, constant: npt.NDArray[Any] | None = None) -> str:
    """Of a tensor; of anything else what it is ("sequence", "optional"), whatever is in it."""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return type(value.type).__name__.removesuffix("Type").lower()
    if value.dtype is not None:
        return value.dtype.name.lower()
    if constant is not None and constant.dtype.kind != "O":
        return ir.DataType.from_numpy(constant.dtype).name.lower()
    return ""
