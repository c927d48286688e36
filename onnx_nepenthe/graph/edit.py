"""Change a copy of a model: new constants, new operators, values replaced, dead parts removed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_nepenthe.graph.view import IR_WITH_OVERRIDABLE_INITIALIZERS, overridable

LOG = logging.getLogger(__name__)
_DTYPES: dict[str, Any] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "int32": np.int32,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
}
FIRST_CONSTANT_OF_ANY_TYPE = 9
Operand = ir.Value | None


class Editor:
    """Edits a private copy of a model; `finish` hands it over.

    The values it takes and gives are onnx_ir values; `value(name)` finds one by name.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model.clone()
        self._graph = self._model.graph
        self._values = all_values(self._graph)
        self._taken = all_names(self._model)
        self._overridable = overridable(model)
        self._looked_at: set[tuple[str, tuple[int, ...]]] = set()
        self._shared: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def value(self, name: str) -> ir.Value:
        """The value called `name`."""
        return self._values[name]

    def has(self, name: str) -> bool:
        """Whether there is a value called `name`; a part of a model lacks some."""
        return name in self._values

    @property
    def opset(self) -> int:
        """Version of the default domain."""
        return self._model.opset_imports.get("", 1)

    def unique(self, hint: str) -> str:
        """A name no value or node of the model has, starting with `hint`."""
        name, count = hint, 0
        while name in self._taken:
            count += 1
            name = f"{hint}_{count}"
        self._taken.add(name)
        return name

    def constant(self, hint: str, array: npt.ArrayLike, dtype: str) -> ir.Value:
        """A constant of ONNX type `dtype` ("float", "int64" …); equal constants are shared.

        Before IR 4 an initializer has to be a graph input too, so a Constant node holds it where it can: before opset 9
        only floats.
        """
        data = np.asarray(array).astype(_DTYPES[dtype], order="C")
        self._remember_weights(dtype, data.shape)
        key = _key(dtype, data)
        if key in self._shared:
            return self._shared[key]
        name = self.unique(hint)
        tensor = ir.tensor(data, name=name)
        before_four = self._model.ir_version < IR_WITH_OVERRIDABLE_INITIALIZERS
        if before_four and (self.opset >= FIRST_CONSTANT_OF_ANY_TYPE or data.dtype.kind == "f"):
            value = self.node("Constant", [], {"value": tensor}, hint=name, output=name)
        else:
            value = ir.Value(
                name=name, const_value=tensor, shape=ir.Shape(data.shape), type=ir.TensorType(tensor.dtype)
            )
            self._graph.register_initializer(value)
            if before_four:
                self._graph.inputs.append(value)
        self._values[name] = value
        self._shared[key] = value
        return value

    def _remember_weights(self, dtype: str, shape: tuple[int, ...]) -> None:
        """Let new constants share the model's own weights of the same type and shape, once asked for."""
        if (dtype, shape) in self._looked_at:
            return
        self._looked_at.add((dtype, shape))
        for value in self._graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tuple(tensor.shape) != shape or tensor.dtype.name.lower() != dtype:
                continue
            if value.name not in self._overridable:
                self._shared.setdefault(_key(dtype, np.asarray(tensor.numpy())), value)

    def tensor(self, array: npt.ArrayLike, dtype: str) -> ir.TensorProtocol:
        """A tensor of ONNX type `dtype`, for an attribute."""
        return ir.tensor(np.asarray(array).astype(_DTYPES[dtype]))

    def node(
        self,
        op_type: str,
        inputs: Sequence[Operand],
        attributes: Mapping[str, Any] | None = None,
        *,
        hint: str,
        output: str | None = None,
        like: ir.Value | None = None,
        domain: str = "",
    ) -> ir.Value:
        """Append an operator with one output and return that output.

        Args:
            op_type: of `domain`.
            inputs: operands; None for an omitted one.
            attributes: plain Python values or onnx_ir tensors.
            hint: what the node is named after.
            output: name of the output; made from `hint` when omitted.
            like: a value whose type the output has.
            domain: version 1 of it where the model does not import it.
        """
        if domain:
            self._model.opset_imports.setdefault(domain, 1)
        name = output or self.unique(f"{hint}_{op_type.lower()}")
        out = ir.Value(name=name, type=None if like is None else like.type)
        own = self.unique(f"{hint}/{op_type}")
        node = ir.node(op_type, list(inputs), attributes or {}, outputs=[out], name=own, domain=domain)
        self._graph.append(node)
        self._values[name] = out
        return out

    def cast(self, value: ir.Value, dtype: str, *, hint: str) -> ir.Value:
        """`value` in ONNX type `dtype`."""
        return self.node("Cast", [value], {"to": int(ir.DataType[dtype.upper()])}, hint=hint)

    def replace(self, name: str, new: ir.Value) -> None:
        """Let every consumer of the value `name`, and the graph's outputs, take `new` instead.

        A graph output keeps its name, type and shape. When `new` cannot be renamed (it is an input, an
        initializer, another output), an Identity carries the name.

        Raises:
            ValueError: `name` is both input and output of the graph; one value cannot become two.
        """
        old = self._values[name]
        if not old.is_graph_output():
            if new.type is None:
                new.type = old.type
            ir.convenience.replace_all_uses_with(old, new)
            self._values[name] = new
            return
        if old.is_graph_input():
            raise ValueError(f"{name!r} is both input and output of the graph")
        if new.producer() is None or new.is_graph_output():
            new = self.node("Identity", [new], hint=name, output=self.unique(name))
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        old.name, new.name = self.unique(f"{name}_replaced"), name
        new.type, new.shape, new.doc_string = old.type, old.shape, old.doc_string
        new.metadata_props.update(old.metadata_props)
        self._values[name] = new

    def output(self, value: ir.Value) -> None:
        """Append `value` to the outputs of the graph."""
        self._graph.outputs.append(value)

    def forget_shapes(self) -> None:
        """Leave sizes of values inside the graph to be inferred anew."""
        for node in self._graph:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None

    def finish(self) -> ir.Model:
        """Restore topological order, remove what nothing needs any more, and hand the model over."""
        self._graph.sort()
        self._remove_dead_nodes()
        self._remove_dead_initializers()
        return self._model

    def _remove_dead_nodes(self) -> None:
        """One walk from the end is enough in topological order only."""
        for node in reversed(list(self._graph)):
            if not any(out.uses() or out.is_graph_output() for out in node.outputs):
                self._graph.remove(node, safe=True)

    def _remove_dead_initializers(self) -> None:
        """Weights nothing uses; one that a caller may feed (IR >= 4, also an input) stays."""
        before_four = self._model.ir_version < IR_WITH_OVERRIDABLE_INITIALIZERS
        for name, value in list(self._graph.initializers.items()):
            if value.uses() or value.is_graph_output() or (value.is_graph_input() and not before_four):
                continue
            del self._graph.initializers[name]
            if value.is_graph_input():
                self._graph.inputs.remove(value)


def all_values(graph: ir.Graph) -> dict[str, ir.Value]:
    """Name → value of this graph, its bodies left out."""
    values = {v.name: v for v in (*graph.inputs, *graph.initializers.values()) if v.name}
    for node in graph:
        values.update({v.name: v for v in node.outputs if v.name})
    return values


def all_names(model: ir.Model) -> set[str]:
    """Names of values and nodes, in subgraphs too: a name taken from one of those would hide the outer value there."""
    names = {v.name for graph in model.graphs() for v in (*graph.inputs, *graph.initializers.values()) if v.name}
    for node in model.graph.all_nodes():
        names |= {name for name in (node.name, *(v.name for v in node.outputs)) if name}
    return names


def _key(dtype: str, data: npt.NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    flat = np.ascontiguousarray(data).reshape(-1)
    return dtype, data.shape, hashlib.sha256(flat.view(np.uint8).data).digest()


def freeze_initializers(model: ir.Model) -> ir.Model:
    """A copy in which weights are no inputs, so that no caller can override them."""
    copy = model.clone()
    kept = [value for value in copy.graph.inputs if value.name not in copy.graph.initializers]
    copy.graph.inputs[:] = kept
    return copy
