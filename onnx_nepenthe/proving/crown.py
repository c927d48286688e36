"""Bounds by linear relaxation: a form of a value is pulled back, operator by operator, to what it depends on.

Interval arithmetic forgets that two operands hang together: x + conv(x), or two neurons of one input. A linear form
pulled back to the input remembers, and is bounded there once. Rectifiers are held between two lines on the way.

Source: H. Zhang et al., "Efficient neural network robustness certification with general activation functions"
(CROWN), NeurIPS 2018; G. Singh et al., "An abstract domain for certifying neural networks" (DeepPoly), POPL 2019.
Differs in that numbers are bounded as runtimes round them (`crown_nodes`), and in three choices of lines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.affine.maps import FloatArray
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.proving.bounds import Bounds
from onnx_nepenthe.proving.crown_boxes import Box, box_from, by_channel, meet
from onnx_nepenthe.proving.crown_lines import Lines, is_piecewise_linear, undecided
from onnx_nepenthe.proving.crown_nodes import LARGEST_VALUE, OWN_ERROR, Affine, Kink, affine_node, kink_node
from onnx_nepenthe.proving.crown_pool import Pool, pool_node
from onnx_nepenthe.proving.effort import Effort, OutOfEffortError

LOG = logging.getLogger(__name__)
CLOSEST = (0.5, 0.0, 1.0)
"""Where lines are closest to the rectifier, one bound each: CROWN's rule, then the slopes at both ends."""
NUMBERS_AT_ONCE = 2**17
"""In the coefficients of the rows that are pulled back together; they should fit a cache."""
NEARLY = 0.25
"""Share of its interval by which a number may pass a knot and still be worth a second choice of lines."""
BOXES = 3
"""How often a node is computed for its box: the middle, the reach, and what an offset adds to that."""
_Node = Affine | Kink | Pool


@dataclass(frozen=True, eq=False)
class Bend:
    """A rectifier to be decided: `output = activation(operand)`; `axis` holds the channels of the operand."""

    operand: str
    activation: Activation
    axis: int | None


def relaxed_bounds(
    view: GraphView, bounds: Mapping[str, Bounds], bends: Mapping[str, Bend], effort: Effort
) -> dict[str, Bounds]:
    """Tighter bounds of rectifiers' operands, where the relaxation could tighten them.

    What is found depends on the graph and the work allowed alone, as long as the time suffices. When one of the two
    does not, the rectifiers that were reached keep their bounds, the others get none, and `effort.stopped` says so.

    Args:
        view: the graph; sizes behind the first axis must be known.
        bounds: of its values, by intervals.
        bends: output of a rectifier → what it is.
        effort: what it may cost; spent.

    Returns:
        operand → bounds, told apart by channel.
    """
    relaxation = _Relaxation(view, bounds, bends, effort)
    try:
        for op in view.ops:
            relaxation.add(op)
    except OutOfEffortError as error:
        LOG.info("%s", error)
    return relaxation.found


@dataclass(eq=False)
class _Relaxation:
    """Nodes seen so far, and the box of every value that can be used.

    What depends on a large value is not followed: it could only start anew from bounds that have grown too wide.
    """

    view: GraphView
    bounds: Mapping[str, Bounds]
    bends: Mapping[str, Bend]
    effort: Effort
    boxes: dict[str, Box] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    nodes: dict[str, _Node] = field(default_factory=dict)
    found: dict[str, Bounds] = field(default_factory=dict)
    lines: dict[tuple[str, float], Lines] = field(default_factory=dict)

    def add(self, op: OpView) -> None:
        self.effort.spend(0)
        operands = [operand.name for operand in op.inputs if operand is not None and operand.constant is None]
        for name in operands:
            self._admit(name)
        if not self.large.isdisjoint(operands):
            self.large.update(op.outputs)
            return
        for index, name in enumerate(op.outputs):
            if name and self.view.tensors[name].constant is None:
                self._add_output(op, index, name)

    def _admit(self, name: str) -> None:
        """Take a value that no node explains as anything within its bounds."""
        tensor = self.view.tensors.get(name)
        if name in self.boxes or name not in self.bounds or tensor is None or not tensor.shape:
            return
        sizes = [size for size in tensor.shape[1:] if isinstance(size, int) and size > 0]
        if np.prod(sizes) > LARGEST_VALUE:
            self.large.add(name)
            return
        if len(sizes) < len(tensor.shape) - 1:
            return
        box = box_from(self.bounds[name], tuple(sizes))
        if np.isfinite(box.largest).all():
            self.boxes[name] = box

    def _add_output(self, op: OpView, index: int, name: str) -> None:
        dtype, bend = self.view.tensors[name].dtype, self.bends.get(name)
        made: tuple[_Node, Box] | None
        if bend is not None and self._is_readable(bend):
            box = self._refined(bend)
            made = kink_node(name, bend.operand, bend.activation, box, dtype)
        else:
            made = affine_node(op, index, dtype, self.boxes) or (pool_node(op, self.boxes) if index == 0 else None)
        if made is None or not self._agrees(name, made[1]):
            return
        self.effort.spend(BOXES * made[0].work)
        self.nodes[name] = made[0]
        known = box_from(self.bounds[name], made[1].sizes)
        self.boxes[name] = meet(made[1], known)

    def _is_readable(self, bend: Bend) -> bool:
        spares_samples = bend.activation.axis is None or bend.activation.axis >= 1
        return bend.operand in self.boxes and spares_samples and is_piecewise_linear(bend.activation)

    def _agrees(self, name: str, box: Box) -> bool:
        shape = self.view.tensors[name].shape
        if shape is None:
            return False
        return len(shape) == box.low.ndim and all(
            stated == size for stated, size in zip(shape[1:], box.sizes, strict=True) if isinstance(stated, int)
        )

    def _refined(self, bend: Bend) -> Box:
        """The box of a rectifier's operand, tightened where a knot lies inside."""
        name = bend.operand
        box = self.boxes[name]
        if name in self.nodes and name not in self.found:
            box = self._tightened(name, bend.activation, box)
            self.boxes[name] = box
        if name in self.nodes:
            self.found[name] = by_channel(box, bend.axis, self.bounds[name].may_be_nan)
        return box

    def _tightened(self, name: str, activation: Activation, box: Box) -> Box:
        low, high = box.low.copy(), box.high.copy()
        for closest in CLOSEST:
            wanted = undecided(activation, low, high)
            if closest != CLOSEST[0]:
                slack = NEARLY * (high - low)
                wanted &= ~undecided(activation, low + slack, high - slack)
            rows = np.flatnonzero(wanted)
            widest = max(self.boxes[node].low.size for node in self.nodes)
            step = max(1, NUMBERS_AT_ONCE // (2 * widest))
            for start in range(0, rows.size, step):
                chosen = rows[start : start + step]
                lowest, highest = self._ends(name, chosen, box.sizes, closest)
                low.flat[chosen] = np.maximum(low.flat[chosen], lowest)
                high.flat[chosen] = np.minimum(high.flat[chosen], highest)
        return meet(Box(low, high), box)

    def _ends(
        self, name: str, chosen: npt.NDArray[np.intp], sizes: tuple[int, ...], closest: float
    ) -> tuple[FloatArray, FloatArray]:
        """The smallest and largest value of some of the numbers of a value."""
        form = np.zeros((2 * chosen.size, int(np.prod(sizes))))
        rows = np.arange(chosen.size)
        form[rows, chosen] = 1.0
        form[rows + chosen.size, chosen] = -1.0
        least = self._least(name, form.reshape(-1, *sizes), closest)
        return least[: chosen.size], -least[chosen.size :]

    def _least(self, target: str, form: FloatArray, closest: float) -> FloatArray:
        """A lower bound of each form (rows, *sizes) of `target`."""
        forms = {target: form}
        least = np.zeros(form.shape[0])
        for name in reversed(self.nodes):
            a = forms.pop(name, None)
            if a is None:
                continue
            parts, constant = self._pulled(self.nodes[name], a, closest)
            least += constant
            for operand, part in parts:
                forms[operand] = forms[operand] + part if operand in forms else part
        for name, a in forms.items():
            box = self.boxes[name]
            middle, radius = (box.low + box.high) / 2, (box.high - box.low) / 2
            least += _dot(a, middle) - _dot(np.abs(a), radius + OWN_ERROR * box.largest)
        return least

    def _pulled(self, node: _Node, a: FloatArray, closest: float) -> tuple[list[tuple[str, FloatArray]], FloatArray]:
        """Coefficients on the operands, and the constant that is left, less what rounding may take."""
        self.effort.spend(a.shape[0] * node.work)
        lost = _dot(np.abs(a), node.error)
        if isinstance(node, Affine):
            return [(term.operand, term.back(a)) for term in node.terms], _dot(a, node.offset) - lost
        if isinstance(node, Pool):
            part, rest = node.pulled(a)
            return [(node.operand, part)], _dot(rest, node.most) - lost
        key = (node.output, closest)
        if key not in self.lines:
            self.lines[key] = node.lines(closest)
        lines = self.lines[key]
        plus, minus = np.maximum(a, 0), np.minimum(a, 0)
        constant = _dot(plus, lines.b_low) + _dot(minus, lines.b_high) - lost
        return [(node.operand, plus * lines.a_low + minus * lines.a_high)], constant


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    # Not a BLAS product: on a busy machine its threads cost more than these few passes over memory.
    return np.einsum("ij,j->i", a.reshape(a.shape[0], -1), b.reshape(-1)) if b.any() else np.zeros(a.shape[0])
