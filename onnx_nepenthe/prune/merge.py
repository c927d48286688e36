"""Merge what has become affine inside torch: convolutions, dense layers, norms, lines and identity skips.

The ONNX half does the same to the exported model, with more operators and with measured times; this is for those who
stay in torch. The algebra is the same (`affine/`): float64, cast once, exact or refused.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import fx

from onnx_nepenthe.affine.combine import add
from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, PerChannel, identity, with_settled_border
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.prune.chains import called_once, operand_of, rank_of
from onnx_nepenthe.prune.flow import Shape, is_sum, shape_of
from onnx_nepenthe.prune.modules import map_of, module_of, module_refusal, multiply_adds
from onnx_nepenthe.prune.records import Note
from onnx_nepenthe.prune.running import spread_shapes

HOME = "merged"
"""Submodule of a merged network that holds what was made."""
DEARER = Refused("the merged operator takes more multiply-adds than its parts")


@dataclass(frozen=True, eq=False)
class Merged:
    """A network with fewer layers that computes the same in evaluation mode.

    Attributes:
        module: the network; evaluation only, for its norms have gone into the weights.
        parts: name of each new module → names of what it stands for, in the order of the graph.
        notes: what could have been merged but for a reason.
    """

    module: fx.GraphModule
    parts: dict[str, tuple[str, ...]]
    notes: tuple[Note, ...]


def merge(traced: fx.GraphModule, *, growth: float = math.inf) -> Merged:
    """A copy of a traced network in which neighbouring affine calls are one; exact up to rounding.

    Args:
        traced: `Subject.module`; stays as it is.
        growth: how many times the multiply-adds of its parts a merged operator may take. Two equal 3×3 convolutions
            become a 5×5 one with 1.39 times as many: fewer layers are not always faster (ALGORITHMS.md §10).
    """
    twin = copy.deepcopy(traced).eval()
    spread_shapes(twin, _blank_inputs(twin))
    work = _Work(twin, _maps(twin), growth)
    for node in list(twin.graph.nodes):
        while _try_chain(work, node) or _try_sum(work, node):
            pass
    for node, parts in work.parts.items():
        _write(work, node, parts)
    twin.graph.lint()
    twin.recompile()
    twin.delete_all_unused_submodules()
    made = {str(node.target): parts for node, parts in work.parts.items()}
    notes = tuple(Note(node.name, reason.reason) for node, reason in work.refusals.items() if node not in work.erased)
    return Merged(twin, made, notes)


@dataclass(eq=False)
class _Work:
    """A merge under way.

    Attributes:
        traced: changed as it goes.
        maps: what the affine calls compute.
        growth: as in `merge`.
        parts: calls that stand for several, and for which.
        refusals: why a call was not merged with the one before it.
        erased: calls that are no more.
    """

    traced: fx.GraphModule
    maps: dict[fx.Node, AffineMap]
    growth: float
    parts: dict[fx.Node, tuple[str, ...]] = field(default_factory=dict)
    refusals: dict[fx.Node, Refused] = field(default_factory=dict)
    erased: set[fx.Node] = field(default_factory=set)

    def names(self, node: fx.Node) -> tuple[str, ...]:
        """What the call stands for."""
        return self.parts.get(node, (str(node.target) if node.op == "call_module" else node.name,))

    def erase(self, node: fx.Node) -> None:
        """Remove a call that nobody reads."""
        for known in (self.maps, self.parts):
            known.pop(node, None)
        self.erased.add(node)
        self.traced.graph.erase_node(node)


def _maps(traced: fx.GraphModule) -> dict[fx.Node, AffineMap]:
    found = {}
    for node, module in called_once(traced).items():
        operand = operand_of(node)
        rank = None if operand is None else rank_of(operand)
        m = None if rank is None else map_of(module, rank)
        if m is not None:
            found[node] = m
    return found


def _try_chain(work: _Work, second: fx.Node) -> bool:
    """Make a call and the one before it, which nobody else reads, one."""
    first = operand_of(second) if second in work.maps else None
    if first is None or first not in work.maps or len(first.users) > 1:
        return False
    source = operand_of(first)
    assert source is not None
    m = _accepted(work, compose(work.maps[second], work.maps[first]), source, [(first, source), (second, first)])
    if isinstance(m, Refused):
        work.refusals.setdefault(second, m)
        return False
    _become(work, second, source, m, [first])
    return True


def _try_sum(work: _Work, node: fx.Node) -> bool:
    """Make a sum of maps of one value, or of a map of it and the value itself, one map."""
    operands = [operand for operand in node.args if isinstance(operand, fx.Node)]
    if not is_sum(node) or node.kwargs or len(node.args) != 2 or len(operands) != 2 or operands[0] is operands[1]:
        return False
    own = [operand for operand in operands if operand in work.maps and len(operand.users) == 1]
    sources = {operand_of(operand) if operand in own else operand for operand in operands}
    source = sources.pop()
    if sources or source is None or not own:
        return False
    shape = shape_of(source) or ()
    maps = [work.maps[operand] if operand in own else identity() for operand in operands]
    total = add(maps, _channels(maps, shape), shape[2:])
    m = _accepted(work, total, source, [(operand, source) for operand in own])
    if isinstance(m, Refused):
        work.refusals.setdefault(node, m)
        return False
    _become(work, node, source, m, own)
    return True


def _accepted(
    work: _Work, m: AffineMap | Refused, source: fx.Node, calls: Sequence[tuple[fx.Node, fx.Node]]
) -> AffineMap | Refused:
    """The map, unless torch has no module for it or it takes too many multiply-adds.

    Args:
        work: under way.
        m: of `source`.
        source: a value.
        calls: what it would stand for, each with its operand.
    """
    if isinstance(m, Refused):
        return m
    m = with_settled_border(m) if isinstance(m, Conv) else m
    shape = shape_of(source) or ()
    refusal = module_refusal(m, len(shape))
    if refusal is not None:
        return refusal
    before = sum(multiply_adds(work.maps[call], shape_of(operand) or ()) for call, operand in calls)
    return m if multiply_adds(m, shape) <= work.growth * before else DEARER


def _become(work: _Work, node: fx.Node, source: fx.Node, m: AffineMap, gone: Sequence[fx.Node]) -> None:
    """Make `node` a call of m on `source`, in place of itself and the calls in `gone`."""
    work.parts[node] = (*(name for call in gone for name in work.names(call)), *work.names(node))
    work.maps[node] = m
    work.refusals.pop(node, None)
    node.op, node.target = "call_module", f"{HOME}.{node.name}"
    node.args, node.kwargs = (source,), {}
    for call in gone:
        work.erase(call)


def _write(work: _Work, node: fx.Node, parts: tuple[str, ...]) -> None:
    like = next((p for name in parts for p in _tensors(work.traced, name)), torch.empty(0))
    work.traced.add_submodule(str(node.target), module_of(work.maps[node], like).eval())


def _tensors(traced: fx.GraphModule, name: str) -> list[torch.Tensor]:
    try:
        return list(traced.get_submodule(name).parameters())
    except AttributeError:
        return []


def _channels(maps: Sequence[AffineMap], shape: Shape) -> int | None:
    axes = {m.axis for m in maps if isinstance(m, PerChannel | Dense) and m.axis is not None}
    axis = axes.pop() if axes else 1
    return shape[axis] if axis < len(shape) else None


def _blank_inputs(traced: fx.GraphModule) -> tuple[torch.Tensor, ...]:
    """Zeros of the shapes that the network was traced with."""
    device = next((parameter.device for parameter in traced.parameters()), None)
    metas = [node.meta["tensor_meta"] for node in traced.graph.nodes if node.op == "placeholder"]
    return tuple(torch.zeros(meta.shape, dtype=meta.dtype, device=device) for meta in metas)
