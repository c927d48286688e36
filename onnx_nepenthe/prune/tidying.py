"""What the exporter leaves behind, made readable: names after the network's modules, no traces of the machine."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NORM = "BatchNormalization"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
HIDDEN = "onnx_nepenthe.kept"
"""Domain of operators that the exporter's optimiser is to leave alone."""
SCOPES = "pkg.torch.onnx.name_scopes"


@contextmanager
def kept_norms(model: Any) -> Iterator[None]:
    """Keeps the optimiser, in the meantime, from folding BatchNormalization into what stands before it.

    Args:
        model: as `torch.onnx.ONNXProgram.model`.
    """
    norms = [node for node in model.graph.all_nodes() if node.op_type == NORM and not node.domain]
    for node in norms:
        node.domain = HIDDEN
    yield
    for node in norms:
        node.domain = ""


def tidy(model: Any) -> None:
    """Calls operators after the modules that make them, and drops the exporter's notes (source lines, file names).

    An operator is called as its module is ("layer1.0.relu"), with its type and a number where the module makes several
    or holds other modules; its result has ".output" behind that.

    Args:
        model: as `torch.onnx.ONNXProgram.model`; changed in place.
    """
    _rename(model.graph)
    _strip(model)


def _rename(graph: Any) -> None:
    nodes = list(graph)
    owners = [_owner(node) for node in nodes]
    makes, holds = Counter(owners), {owner[: dot.start()] for owner in owners for dot in re.finditer(r"\.", owner)}
    values = {name for value in _values(graph) if (name := value.name) is not None}
    names: set[str] = set()
    for node, owner in zip(nodes, owners, strict=True):
        is_all = owner and makes[owner] == 1 and owner not in holds
        node.name = _free(owner if is_all else f"{owner}.{node.op_type.lower()}".lstrip("."), names)
        for number, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = _free(f"{node.name}.output{number or ''}", values)


def _owner(node: Any) -> str:
    """Qualified name of the module whose forward makes this operator; "" for the network itself."""
    weight = node.inputs[1].name if node.op_type in WEIGHTED else None
    # A norm that was folded into it gave it the norm's scopes.
    if weight is not None and weight.endswith(".weight"):
        return str(weight.removesuffix(".weight"))
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "['']"))
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def _values(graph: Any) -> Iterator[Any]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs


def _strip(model: Any) -> None:
    bodies = [model.graph, *model.functions.values()]
    nodes = [node for body in bodies for node in body.all_nodes()]
    for holder in (model, *bodies, *nodes, *_values(model.graph)):
        holder.metadata_props.clear()
        holder.doc_string = None
