"""Find every call of a rectifier in a network, and give each a module of its own."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import fx, nn

from onnx_nepenthe.prune.calls import call_of_module
from onnx_nepenthe.prune.encoders import hidden_activations
from onnx_nepenthe.prune.finding import Found, find_calls
from onnx_nepenthe.prune.flow import Origin, has_bypass, origins, shape_of
from onnx_nepenthe.prune.records import Site
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.running import Inputs, check_agrees, evaluate, placed, spread_shapes
from onnx_nepenthe.prune.tracing import trace

log = logging.getLogger(__name__)
HOME = "rectifiers"
"""Submodule of a traced network that holds its rectifiers, each under its site's name."""


def find_sites(
    module: nn.Module, example_inputs: Inputs, leaves: Sequence[str] = ()
) -> tuple[fx.GraphModule, tuple[Site, ...]]:
    """A copy of the network in which every call of a rectifier is a call of its own `Rectifier`, and the sites.

    Args:
        module: any module that torch.fx can trace; stays as it is.
        example_inputs: one batch of inputs, for the shapes.
        leaves: qualified names of submodules that are not looked into; `*` stands for any text.

    Returns:
        The copy, in the mode (training or evaluation) of `module`, and its sites in the order of the calls.

    Raises:
        UnsupportedError: it cannot be traced, or not run on the example; says which submodule to mark as a leaf.
        UsageError: a leaf that is not there, or another number of inputs than the network takes.
    """
    twin = copy.deepcopy(module)
    inputs = placed(example_inputs, twin)
    traced = trace(twin, len(inputs), leaves)
    expected = evaluate(twin, inputs)
    spread_shapes(traced, inputs)
    found = find_calls(traced)
    for call in found:
        _stop_mutation(call)
    sites = _sites(traced, found)
    for call, site in zip(found, sites, strict=True):
        _replace(traced, call, site)
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
    check_agrees(expected, evaluate(traced, inputs))
    _warn_of_hidden(traced)
    return traced, sites


def rectifiers_of(traced: nn.Module) -> dict[str, Rectifier]:
    """Name of the site → its module."""
    return {part.site.name: part for part in traced.modules() if isinstance(part, Rectifier)}


def _stop_mutation(found: Found) -> None:
    """Whoever read the operand after it was overwritten reads the result instead."""
    if not found.in_place:
        return
    after = found.node.next
    while after.op != "root":
        after.replace_input_with(found.operand, found.node)
        after = after.next


def _sites(traced: fx.GraphModule, found: Sequence[Found]) -> tuple[Site, ...]:
    known = origins(traced)
    totals, seen = Counter(call.label for call in found), Counter[str]()
    bypasses: dict[str, bool] = {}
    sites = []
    for call in found:
        seen[call.label] += 1
        label = f"{call.label}, call {seen[call.label]}" if totals[call.label] > 1 else call.label
        origin = _fitting(call, known.get(call.operand))
        if origin is not None and origin.feeder not in bypasses:
            bypasses[origin.feeder] = has_bypass(traced, origin.feeder)
        sites.append(_site(call, label, origin, bypasses))
    return tuple(sites)


def _fitting(found: Found, origin: Origin | None) -> Origin | None:
    """The origin, unless the activation's own parameters run along another axis than its channels."""
    own = found.activation.axis
    return origin if origin is not None and own in (None, origin.axis) else None


def _site(found: Found, label: str, origin: Origin | None, bypasses: Mapping[str, bool]) -> Site:
    shape = shape_of(found.operand) or ()
    own = found.activation.axis
    axis = origin.axis if origin is not None else own if own is not None else _default_axis(len(shape))
    site = Site(found.node.name, label, found.call.op, found.activation, axis, shape[axis])
    if origin is None:
        return site
    return replace(
        site,
        feeder=origin.feeder,
        norm=origin.norm,
        norm_is_last=origin.norm_is_last,
        is_sum=origin.is_sum,
        has_bypass=bypasses[origin.feeder],
    )


def _default_axis(rank: int) -> int:
    """As in the ONNX half: features of sequences are last, everything else has its channels behind the batch."""
    return rank - 1 if rank <= 3 else 1


def _replace(traced: fx.GraphModule, found: Found, site: Site) -> None:
    shape, dtype = shape_of(found.operand) or (), found.operand.meta["tensor_meta"].dtype
    rectifier = Rectifier(site, found.module, torch.empty(shape, dtype=dtype, device=_device(traced)))
    rectifier.train(traced.training)
    traced.add_submodule(f"{HOME}.{site.name}", rectifier)
    # The node stays, so that it keeps its name and place.
    found.node.args, found.node.kwargs = (found.operand,), {}
    found.node.op, found.node.target = "call_module", f"{HOME}.{site.name}"


def _device(traced: nn.Module) -> torch.device:
    parameter = next(traced.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _warn_of_hidden(traced: fx.GraphModule) -> None:
    """Activations inside a leaf are called where nobody looks."""
    for node in traced.graph.nodes:
        part = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        if part is None or isinstance(part, Rectifier):
            continue
        called = hidden_activations(part)
        hidden = called + sum(call_of_module(module) is not None for module in list(part.modules())[1:])
        mend = "; call it without masks, or write its feed-forward part as a module of your own" if called else ""
        if hidden:
            log.warning("%s is not looked into: %d activations in it stay as they are%s", node.target, hidden, mend)
