"""Follow the channels of every layer through the graph: which lanes belong together, and which are constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_nepenthe.cutting.lanes import BoolArray, Classes, FloatArray, IntArray, Lanes
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.ops.base import OLDEST_VERSION
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.registry import Registry


@dataclass(frozen=True, eq=False)
class Known:
    """Lanes of a rectifier that are constant by decision.

    Attributes:
        axis, constants, seen: as in `Lanes`.
    """

    axis: int
    constants: FloatArray
    seen: IntArray


@dataclass(frozen=True, eq=False)
class End:
    """A layer that reads lanes: its weights for the ones taken out go.

    Attributes:
        key, label: of the operator.
        lanes: of its operand.
        reads: bool (n,), whether any weight of the lane is not zero.
        absorbs: whether its bias can take what a constant adds; not where padding makes that depend on the position.
    """

    key: str
    label: str
    lanes: Lanes
    reads: BoolArray
    absorbs: bool


@dataclass
class Trace:
    """What following the channels found.

    Attributes:
        view: the graph.
        classes: of all lanes.
        lanes: by value name.
        producers: value → the layer that makes it and whose output channels its classes were.
        ends: layers that read lanes, in graph order.
        untracked: value → why its channels are not followed.
        notes: class root → what made a constant lane vary again.
    """

    view: GraphView
    classes: Classes = field(default_factory=Classes)
    lanes: dict[str, Lanes] = field(default_factory=dict)
    producers: dict[str, OpView] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    untracked: dict[str, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def of(self, tensor: Tensor | None) -> Lanes | None:
        """The lanes of an operand."""
        return None if tensor is None or tensor.constant is not None else self.lanes.get(tensor.name)

    def is_used(self, name: str) -> bool:
        """Whether anything needs the value."""
        return bool(self.view.consumers.get(name)) or self.view.is_pinned(name)


Transfer = Callable[[OpView, Trace], Lanes | Refused | None]
TRANSFERS: Registry[Transfer] = Registry("channel transfer")
"""Operator type → the lanes of its result. Refused: the operands' channels have to stay. None: no lanes come in."""


def trace(view: GraphView, known: Mapping[str, Known], skip: frozenset[str] = frozenset()) -> Trace:
    """Follow every channel; time is linear in the graph.

    Args:
        view: the graph.
        known: by value name, constants that decisions put on lanes.
        skip: operator types to leave as they are.
    """
    state = Trace(view)
    if view.opsets.get("", OLDEST_VERSION) < OLDEST_VERSION:
        return state
    for op in view.ops:
        if all(view.tensors[name].constant is not None for name in op.outputs if name):
            continue
        lanes = _result(op, state, skip)
        if lanes is not None:
            state.lanes[op.outputs[0]] = _with_known(lanes, known.get(op.outputs[0]))
    for name, lanes in state.lanes.items():
        if view.is_pinned(name):
            what = "the model gives it back" if name in view.outputs else "a subgraph uses it"
            state.classes.keep(lanes.classes, what)
    for end in state.ends:
        _keep_live(end, state)
    return state


def _result(op: OpView, state: Trace, skip: frozenset[str]) -> Lanes | None:
    own = op.domain in ("", "ai.onnx") and not op.has_subgraph and op.op_type not in skip
    transfer = TRANSFERS.get(op.op_type) if own else None
    found: Lanes | Refused | None = Refused("it mixes or counts channels" if own else "it is left as it is")
    if transfer is not None and any(map(state.is_used, op.outputs[1:])):
        found = Refused("it has a second result")
    elif transfer is not None:
        found = transfer(op, state)
    if isinstance(found, Lanes) and not _fits(found, op):
        found = Refused("its number of channels is not known")
    if not isinstance(found, Refused):
        return found
    reason = f"{op.label}: {found.reason}"
    for operand in op.inputs:
        lanes = state.of(operand)
        if lanes is not None:
            state.classes.keep(lanes.classes, reason)
    state.untracked.update({name: reason for name in op.outputs if name})
    return None


def _fits(lanes: Lanes, op: OpView) -> bool:
    shape = op.output_shapes[0]
    return shape is not None and lanes.axis < len(shape) and shape[lanes.axis] == len(lanes)


def _with_known(lanes: Lanes, known: Known | None) -> Lanes:
    """What follows from the graph counts before what was decided: it needs no more evidence."""
    if known is None or known.axis != lanes.axis or len(known.constants) != len(lanes):
        return lanes
    news = ~lanes.is_constant & ~np.isnan(known.constants)
    constants = np.where(news, known.constants, lanes.constants)
    return replace(lanes, constants=constants, seen=np.where(news, known.seen, lanes.seen))


def _keep_live(end: End, state: Trace) -> None:
    live = end.lanes.classes[~end.lanes.is_constant & end.reads]
    for root in np.unique(state.classes.roots(live)).tolist():
        reason = state.notes.get(root) or f"{end.label} reads it where it varies"
        state.classes.keep(np.array([root]), reason)
