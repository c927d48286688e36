"""What must survive a rewrite: everything a caller of the model can see but its insides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import onnx_ir as ir

from onnx_nepenthe.graph.view import IR_WITH_OVERRIDABLE_INITIALIZERS
from onnx_nepenthe.opview import Dim

Pairs = tuple[tuple[str, str], ...]
LONGEST_SHOWN = 120
"""Characters of one value in a message; exporters store whole signatures in metadata."""


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        name: as feeds and fetches use it.
        type: element type and container, with its denotation, as text; "" when not stated.
        shape: sizes, symbolic ones by name; None when not stated.
        denotations: of the axes.
        doc_string: "" when none.
        metadata: sorted metadata_props.
    """

    name: str
    type: str
    shape: tuple[Dim, ...] | None
    denotations: tuple[str, ...] = ()
    doc_string: str = ""
    metadata: Pairs = ()


@dataclass(frozen=True)
class Interface:
    """The visible side of a model.

    Attributes:
        ir_version: file format version.
        opsets: (domain, version), sorted; the default domain is "".
        producer: name and version of the tool that made it.
        identity: domain and version the model gives itself, and the graph's name.
        doc_strings: of the model and its graph.
        metadata: sorted metadata_props of the model.
        graph_metadata: the same of its graph.
        inputs, outputs: in order.
        weight_inputs: names of inputs that are weights, which no caller feeds before IR 4.
        functions: (domain::name::overload, digest of the body), sorted.
    """

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    producer: tuple[str, str]
    identity: tuple[str, int, str]
    doc_strings: tuple[str, str]
    metadata: Pairs
    graph_metadata: Pairs
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_inputs: frozenset[str]
    functions: Pairs


def interface_of(model: ir.Model) -> Interface:
    """The interface of `model`; no weights are read."""
    graph = model.graph
    opsets = {"" if domain == "ai.onnx" else domain: version for domain, version in model.opset_imports.items()}
    return Interface(
        ir_version=model.ir_version,
        opsets=tuple(sorted(opsets.items())),
        producer=(model.producer_name or "", model.producer_version or ""),
        identity=(model.domain or "", model.model_version or 0, graph.name or ""),
        doc_strings=(model.doc_string or "", graph.doc_string or ""),
        metadata=_pairs(model.metadata_props),
        graph_metadata=_pairs(graph.metadata_props),
        inputs=tuple(_port(value) for value in graph.inputs),
        outputs=tuple(_port(value) for value in graph.outputs),
        weight_inputs=frozenset(v.name for v in graph.inputs if v.name and v.name in graph.initializers),
        functions=tuple(sorted((_function_id(f), _digest(f)) for f in model.functions.values())),
    )


def compare(before: Interface, after: Interface) -> list[str]:
    """What changed, a line each; empty when everything survived.

    Before IR 4 a weight has to be an input; one that is no longer used may go, and a new one come.
    """
    found = [
        f"{field.name.replace('_', ' ')} changed: "
        f"{_short(getattr(before, field.name))} → {_short(getattr(after, field.name))}"
        for field in fields(Interface)
        if field.name not in ("inputs", "outputs", "weight_inputs", "functions")
        and getattr(before, field.name) != getattr(after, field.name)
    ]
    found += _compare_ports("input", _inputs_to_keep(before, after), _inputs_to_keep(after, before))
    found += _compare_ports("output", before.outputs, after.outputs)
    found += [
        f"input '{name}' {'became' if name in after.weight_inputs else 'is no longer'} a weight"
        for name in sorted(before.weight_inputs ^ after.weight_inputs)
        if all(any(port.name == name for port in side.inputs) for side in (before, after))
    ]
    found += _compare_functions(dict(before.functions), dict(after.functions))
    return found


def _inputs_to_keep(one: Interface, other: Interface) -> tuple[Port, ...]:
    """Those of `one` that `other` must have too."""
    if one.ir_version >= IR_WITH_OVERRIDABLE_INITIALIZERS:
        return one.inputs
    shared = {port.name for port in other.inputs}
    return tuple(port for port in one.inputs if port.name in shared or port.name not in one.weight_inputs)


def _compare_ports(what: str, before: tuple[Port, ...], after: tuple[Port, ...]) -> Iterator[str]:
    names, new_names = [port.name for port in before], [port.name for port in after]
    if names != new_names:
        yield f"{what}s changed: {_short(names)} → {_short(new_names)}"
        return
    for old, new in zip(before, after, strict=True):
        for field in fields(Port):
            was, now = getattr(old, field.name), getattr(new, field.name)
            if was != now:
                yield f"{what} '{old.name}': {field.name.replace('_', ' ')} changed: {_short(was)} → {_short(now)}"


def _compare_functions(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"function {name} is gone"
        elif name not in before:
            yield f"function {name} is new"
        elif before[name] != after[name]:
            yield f"function {name} changed"


def _port(value: ir.Value) -> Port:
    shape = value.shape
    dims = None if shape is None else tuple(d if isinstance(d, int) else d.value for d in shape)
    return Port(
        name=value.name or "",
        type="" if value.type is None else f"{value.type!r} {value.type.denotation or ''}".rstrip(),
        shape=dims,
        denotations=() if shape is None else tuple(shape.get_denotation(axis) or "" for axis in range(len(shape))),
        doc_string=value.doc_string or "",
        metadata=_pairs(value.metadata_props),
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _pairs(props: Mapping[str, str]) -> Pairs:
    return tuple(sorted(props.items()))


def _function_id(function: ir.Function) -> str:
    return "::".join(function.identifier())


def _digest(function: ir.Function) -> str:
    return hashlib.sha256(ir.to_proto(function).SerializeToString(deterministic=True)).hexdigest()
