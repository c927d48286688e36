"""Bodies of If, Loop, Scan … as models of their own, and back into their places."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnx_nepenthe.graph.edit import Editor, all_names, all_values
from onnx_nepenthe.graph.structure import DEFAULT_DOMAINS
from onnx_nepenthe.graph.view import IR_WITH_OVERRIDABLE_INITIALIZERS, GraphView
from onnx_nepenthe.opview import Tensor


@dataclass(frozen=True)
class Place:
    """Where a body is.

    Attributes:
        owner: first output of the operator that runs it.
        attribute: of that operator.
    """

    owner: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.attribute} of {self.owner}"


class Bodies:
    """The bodies in the main graph of a private copy of a model; bodies inside those belong to them."""

    def __init__(self, model: ir.Model, view: GraphView) -> None:
        """Copy `model`.

        Args:
            model: not changed.
            view: of `model`.
        """
        self._model = model.clone()
        self._view = view
        self._values = all_values(self._model.graph)
        self._taken = all_names(self._model)
        self._owners = dict(_bodies(self._model))
        self._captured: dict[Place, frozenset[str]] = {}
        self.places = tuple(self._owners)

    def take_out(self, place: Place) -> ir.Model:
        """The body as a model.

        What it takes from the graph around it is an input, or a weight if it is a constant. Sizes of its own inputs are
        left open: runtimes do not hold a body to what it states, and a Loop may change them from turn to turn.
        """
        graph = self._graph(place).clone(allow_outer_scope_values=True)
        for value in graph.inputs:
            if value.shape is not None:
                value.shape = ir.Shape([None] * len(value.shape))
        inside = dict.fromkeys(graph.all_nodes())
        used = dict.fromkeys(value for node in inside for value in node.inputs if value is not None)
        captured = [value for value in used if value is self._values.get(value.name or "")]
        for value in captured:
            _enter(graph, self._stand_in(value), value, inside)
        self._captured[place] = frozenset(value.name or "" for value in captured)
        graph.opset_imports.update(self._model.opset_imports)
        functions = [function.clone() for function in self._model.functions.values()]
        return ir.Model(graph, ir_version=self._model.ir_version, functions=functions)

    def put_back(self, place: Place, body: ir.Model) -> None:
        """Let `body`, made from what `take_out` gave for this place, take it."""
        old = self._graph(place)
        graph = body.clone().graph
        for value in [*graph.inputs[len(old.inputs) :], *graph.initializers.values()]:
            if value.name in self._captured[place]:
                ir.convenience.replace_all_uses_with(value, self._values[value.name or ""])
                graph.initializers.pop(value.name or "", None)
        del graph.inputs[len(old.inputs) :]
        for new, stated in zip(graph.inputs, old.inputs, strict=True):
            new.shape = stated.shape
        graph.opset_imports.clear()
        graph.opset_imports.update(old.opset_imports)
        _rename(graph, self._taken, {thing.name for thing in _named(old)})
        self._owners[place].attributes[place.attribute] = ir.AttrGraph(place.attribute, graph)

    def finish(self) -> ir.Model:
        """The copy, without what nothing needs any more."""
        return Editor(self._model).finish()

    def _graph(self, place: Place) -> ir.Graph:
        return self._owners[place].attributes[place.attribute].as_graph()

    def _stand_in(self, value: ir.Value) -> ir.Value:
        """What the body sees of a value outside of it."""
        tensor = self._view.tensors.get(value.name or "", Tensor(value.name or ""))
        is_tensor = tensor.dtype.upper() in ir.DataType.__members__
        kind = ir.TensorType(ir.DataType[tensor.dtype.upper()]) if is_tensor else value.type
        shape = None if tensor.shape is None else ir.Shape(tensor.shape)
        constant = None
        if tensor.constant is not None:
            constant = value.const_value if value.const_value is not None else ir.tensor(tensor.constant)
        return ir.Value(name=value.name, type=kind, shape=shape, const_value=constant)


def count_bodies(model: ir.Model) -> int:
    """How many bodies of operators of the main graph can be looked into."""
    return sum(1 for _ in _bodies(model))


def _bodies(model: ir.Model) -> Iterator[tuple[Place, ir.Node]]:
    """Of operators of the default domain alone; others may read their bodies in ways of their own.

    Before IR 4 a weight has to be an input, and a body cannot have more of those, so there are none.
    """
    if model.ir_version < IR_WITH_OVERRIDABLE_INITIALIZERS:
        return
    for node in model.graph:
        owner = next((value.name for value in node.outputs if value.name), None)
        if node.domain not in DEFAULT_DOMAINS or owner is None:
            continue
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                yield Place(owner, name), node


def _enter(graph: ir.Graph, new: ir.Value, old: ir.Value, inside: Container[ir.Node]) -> None:
    """Let `new` be an input or weight of `graph`, and its operators use it instead of `old`."""
    for node, index in tuple(old.uses()):
        if node in inside:
            node.replace_input_with(index, new)
    if new.const_value is None:
        graph.inputs.append(new)
    else:
        graph.register_initializer(new)


def _named(graph: ir.Graph) -> Iterator[ir.Value | ir.Node]:
    """All that has a name, in the bodies inside too."""
    for part in (graph, *graph.subgraphs()):
        yield from part.inputs
        yield from part.initializers.values()
    for node in graph.all_nodes():
        yield node
        yield from node.outputs


def _rename(graph: ir.Graph, taken: set[str], kept: set[str | None]) -> None:
    """Give every new name that something else in the model has another one."""
    for thing in [thing for thing in _named(graph) if thing.name and thing.name not in kept]:
        name, count = thing.name, 0
        while thing.name in taken:
            count += 1
            thing.name = f"{name}_{count}"
        taken.add(thing.name or "")
