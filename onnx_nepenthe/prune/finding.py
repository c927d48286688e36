"""Every call of an activation in a traced network, however it is written."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.prune.calls import Call, activation_of, call_of_function, call_of_method, call_of_module, module_from
from onnx_nepenthe.prune.flow import shape_of
from onnx_nepenthe.prune.tracing import module_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Found:
    """A call of an activation.

    Attributes:
        node: the call.
        call: what it is.
        module: computes it, never in place.
        activation: its knots and lines.
        label: who calls what, without a number.
        in_place: whether it overwrites its operand.
    """

    node: fx.Node
    call: Call
    module: nn.Module
    activation: Activation
    label: str
    in_place: bool

    @property
    def operand(self) -> fx.Node:
        """What it is applied to."""
        return operand_of(self.node)


def find_calls(traced: fx.GraphModule) -> list[Found]:
    """The calls in their order; of floating-point values with constant parameters only."""
    return [found for node in traced.graph.nodes if (found := _call(traced, node)) is not None]


def operand_of(node: fx.Node) -> fx.Node:
    """What a call is applied to."""
    operand = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(operand, fx.Node)
    return operand


def _call(traced: fx.GraphModule, node: fx.Node) -> Found | None:
    operand = node.args[0] if node.args else node.kwargs.get("input")
    shape = shape_of(operand) if isinstance(operand, fx.Node) else None
    if not isinstance(operand, fx.Node) or not shape or not operand.meta["tensor_meta"].dtype.is_floating_point:
        return None
    found = _as_module(traced, node)
    if found is None:
        return None
    call, module, in_place = found
    where = module_path(node)
    label = where if node.op == "call_module" else f"{where}.{call.module.__name__}".lstrip(".")
    try:
        activation = activation_of(module, shape)
    except UnsupportedError as error:
        log.warning("%s is left as it is: %s", label, error)
        return None
    return Found(node, call, module, activation, label, in_place)


def _as_module(traced: fx.GraphModule, node: fx.Node) -> tuple[Call, nn.Module, bool] | None:
    """(what it is, a module that computes it, whether the call is in place); None for any other operation."""
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        call = call_of_module(module)
        in_place = bool(getattr(module, "inplace", False))
        return None if call is None else (call, _out_of_place(module) if in_place else module, in_place)
    method = node.op == "call_method"
    known = call_of_method(str(node.target)) if method else call_of_function(node.target)
    arguments = None if known is None else _arguments(traced, node, known[1])
    if known is None or arguments is None:
        return None
    name = str(node.target) if method else str(getattr(node.target, "__name__", ""))
    in_place = name.endswith("_") or bool(arguments.get("inplace", False))
    return known[0], module_from(known[0], arguments), in_place


def _out_of_place(module: nn.Module) -> nn.Module:
    other = copy.copy(module)
    vars(other)["inplace"] = False
    return other


def _arguments(traced: fx.GraphModule, node: fx.Node, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The call's arguments after the operand, by name; None when one of them is computed."""
    given = dict(zip(names, node.args[1:], strict=False)) | {k: v for k, v in node.kwargs.items() if k != "input"}
    values = {name: _parameter(traced, value) for name, value in given.items()}
    return None if any(isinstance(value, fx.Node) for value in values.values()) else values


def _parameter(traced: fx.GraphModule, value: Any) -> Any:
    """The parameter that an argument reads; any other argument as it is."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return value
    home, _, name = str(value.target).rpartition(".")
    parameter = getattr(traced.get_submodule(home), name)
    return parameter if isinstance(parameter, nn.Parameter) else value
