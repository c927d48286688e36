"""Operators as nodes of a linear relaxation: sums of affine steps, and rectifiers between two lines.

What runs is not the real network but one of rounded numbers. Each node therefore carries a bound on how far the
value that a runtime stores lies from the node's exact result for the stored operands: (n + 8) u Σ|term| for n
terms, u half the distance from 1 to the next number of the type, and a relative 2^-36 for our own float64
arithmetic (up to 2^16 numbers per sum). A form a·y then loses Σ|a|·error wherever it passes the node, so that its
bound holds for the stored values, whatever the order of summation. As in `rounding` this is for sums of products:
direct and GEMM convolutions, not Winograd or FFT ones, and no reduced precision inside (TF32).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.affine.maps import FloatArray, PerChannel
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.ops.base import Chain, Select, Stack, Total
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.proving.crown_boxes import Box
from onnx_nepenthe.proving.crown_lines import Lines, is_rounded, lines, shaped, value
from onnx_nepenthe.proving.crown_steps import (
    TOUCH,
    Move,
    Part,
    Placed,
    Sizes,
    absolute,
    applied,
    pulled,
    spares_samples,
    terms_of,
    with_samples,
    work_of,
)
from onnx_nepenthe.proving.rounding import FLOATS

SPARE_ROUNDINGS = 8
"""Per sum, for scales and biases that an optimiser folds into it (a batch normalisation takes five)."""
OWN_ERROR = 2.0**-36
"""Relative, of sums in float64."""
LARGEST_VALUE = 2**16
"""Numbers in one sample of a value; larger values are left to intervals."""
SUMS_BEFORE_DIVIDING = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})
DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Term:
    """One operand of a sum, the steps applied to it, and the shape of a sample before each step."""

    operand: str
    steps: tuple[Move, ...]
    before: tuple[Sizes, ...]

    def of(self, x: FloatArray, *, sizes_only: bool = False) -> FloatArray:
        """The steps applied to x; with every number replaced by its size if asked."""
        for step in self.steps:
            x = applied(absolute(step) if sizes_only else step, x)
        return x

    def back(self, a: FloatArray) -> FloatArray:
        """Coefficients on the operand, given those on the term."""
        for step, before in zip(reversed(self.steps), reversed(self.before), strict=True):
            a = pulled(step, a, before)
        return a

    def work(self, after: Sizes) -> int:
        """Multiply-adds, given the shape of a sample after all steps."""
        sizes = (*self.before[1:], after) if self.steps else ()
        steps = zip(self.steps, self.before, sizes, strict=True)
        return sum(work_of(step, before, out) for step, before, out in steps) + TOUCH * prod(after)

    @property
    def count(self) -> int:
        """How many roundings the longest path through it has, at most."""
        return sum(terms_of(step, before) for step, before in zip(self.steps, self.before, strict=True))


@dataclass(frozen=True, eq=False)
class Affine:
    """y = Σ term + offset, up to `error`; arrays (1, *sizes)."""

    output: str
    terms: tuple[Term, ...]
    offset: FloatArray
    error: FloatArray

    @cached_property
    def work(self) -> int:
        """Multiply-adds of pulling one form back, or of computing one sample."""
        after = self.offset.shape[1:]
        return sum(term.work(after) for term in self.terms)


@dataclass(frozen=True, eq=False)
class Kink:
    """A rectifier of straight pieces over the box of its operand, up to `error`."""

    output: str
    operand: str
    activation: Activation
    box: Box
    error: FloatArray

    @cached_property
    def work(self) -> int:
        """Multiply-adds of pulling one form back."""
        return 2 * TOUCH * self.error.size

    def lines(self, closest: float) -> Lines:
        """The lines that hold it."""
        return lines(self.activation, self.box.low, self.box.high, closest)


def terms_from(op: OpView, index: int, boxes: Mapping[str, Box]) -> tuple[Term, ...] | None:
    """Output `index` of an affine operator as a sum; None when it is none or mixes samples.

    Args:
        op: the operator.
        index: which of its outputs.
        boxes: of its operands.
    """
    reader = READERS.get(op.op_type) if op.domain in DEFAULT_DOMAINS and not op.has_subgraph else None
    reading = None if reader is None else reader(op)
    if index > 0 and not isinstance(reading, Select):
        return None
    match reading:
        case Chain():
            steps = _normalisation(op) if op.op_type == "BatchNormalization" else reading.steps
            moves = tuple(step for step in steps if not isinstance(step, TransposedConv))
            pairs: list[tuple[int, tuple[Move, ...]]] = [(reading.operand, moves)] if len(moves) == len(steps) else []
        case Total():
            signs = [() if s == 1.0 else (PerChannel(None, np.array([s]), np.zeros(1)),) for s in reading.signs]
            pairs = list(zip(reading.operands, signs, strict=True))
        case Stack():
            pairs = _placed(op, reading, boxes)
        case Select():
            pairs = [(reading.operand, (Part(reading.axis, *reading.bounds[index]),))]
        case _:
            return None
    terms = [_term(op, position, steps, boxes) for position, steps in pairs]
    found = tuple(term for term in terms if term is not None)
    return found if found and len(found) == len(terms) else None


def _normalisation(op: OpView) -> tuple[PerChannel, ...]:
    """As kernels may compute it, mean first: what cancels between offset and mean shows in the sizes."""
    scale, bias, mean, variance = (np.reshape(np.asarray(op.constant(i), np.float64), -1) for i in range(1, 5))
    with np.errstate(all="ignore"):
        slope = scale / np.sqrt(variance + float(op.attributes.get("epsilon", 1e-5)))
    return PerChannel(1, np.ones_like(mean), -mean), PerChannel(1, slope, bias)


def _placed(op: OpView, stack: Stack, boxes: Mapping[str, Box]) -> list[tuple[int, tuple[Move, ...]]]:
    operands = [op.inputs[position] for position in stack.operands]
    found = [boxes.get(operand.name) if operand is not None else None for operand in operands]
    sizes = [box.sizes[stack.axis - 1] for box in found if box is not None and 1 <= stack.axis <= len(box.sizes)]
    if len(sizes) < len(found):
        return []
    starts = np.cumsum([0, *sizes]).tolist()
    pairs = zip(stack.operands, starts[:-1], strict=True)
    return [(position, (Placed(stack.axis, start, starts[-1]),)) for position, start in pairs]


def _term(op: OpView, position: int, steps: tuple[Move, ...], boxes: Mapping[str, Box]) -> Term | None:
    operand = op.input(position)
    box = None if operand is None else boxes.get(operand.name)
    if operand is None or box is None or not operand.shape:
        return None
    x, before, resolved = box.low, [], []
    for step in steps:
        sizes = x.shape[1:]
        move = with_samples(step, operand.shape[0], sizes)
        if not spares_samples(move, sizes):
            return None
        before.append(sizes)
        resolved.append(move)
        x = applied(move, x)
        if x.size > LARGEST_VALUE or not np.isfinite(x).all():
            return None
    return Term(operand.name, tuple(resolved), tuple(before))


def affine_node(op: OpView, index: int, dtype: str, boxes: Mapping[str, Box]) -> tuple[Affine, Box] | None:
    """Output `index` of an operator as a node, and where interval arithmetic puts each of its numbers.

    None when it is not affine, of an unknown type, mixes samples, is too large or may overflow.
    """
    terms = terms_from(op, index, boxes)
    if terms is None or dtype not in FLOATS:
        return None
    offsets = [term.of(np.zeros_like(boxes[term.operand].low)) for term in terms]
    if len({part.shape for part in offsets}) > 1:
        return None
    offset = np.asarray(sum(offsets))
    size = np.asarray(sum(term.of(boxes[term.operand].largest, sizes_only=True) for term in terms))
    count = sum(term.count for term in terms) + (len(terms) - 1 if not _is_stack(terms) else 0)
    peak = prod(terms[0].before[0]) if op.op_type in SUMS_BEFORE_DIVIDING else 1
    kind = FLOATS[dtype]
    if not (np.isfinite(size).all() and float(size.max(initial=0.0)) * peak <= kind.largest):
        return None
    operands = [operand.dtype for operand in op.inputs if operand is not None and operand.constant is None]
    rounds = count > 0 or any(other != dtype for other in operands)
    bits = kind.eps if rounds else 0.0
    tiny = kind.tiny if rounds else 0.0
    error = (count + SPARE_ROUNDINGS) * (size * (bits / 2 + OWN_ERROR) + tiny)
    return Affine(op.outputs[index], terms, offset, error), _interval(terms, boxes, offset, error)


def _is_stack(terms: tuple[Term, ...]) -> bool:
    return all(any(isinstance(step, Placed) for step in term.steps) for term in terms)


def _interval(terms: tuple[Term, ...], boxes: Mapping[str, Box], offset: FloatArray, error: FloatArray) -> Box:
    low, high = np.zeros_like(offset), np.zeros_like(offset)
    for term in terms:
        box = boxes[term.operand]
        middle, radius = (box.low + box.high) / 2, (box.high - box.low) / 2
        zero = np.zeros_like(radius)
        centre = term.of(middle)
        reach = term.of(radius, sizes_only=True) - term.of(zero, sizes_only=True)
        low, high = low + centre - reach, high + centre + reach
    return Box(low - error, high + error)


def kink_node(output: str, operand: str, activation: Activation, box: Box, dtype: str) -> tuple[Kink, Box] | None:
    """A rectifier as a node, and where it puts each number; None when it may overflow."""
    if dtype not in FLOATS:
        return None
    kind = FLOATS[dtype]
    numbers = [line for line in activation.lines if line is not None]
    slope = max(1.0, *(float(np.max(np.abs(a))) for a, _ in numbers))
    size = box.largest * slope + max(float(np.max(np.abs(b))) for _, b in numbers)
    if not float(size.max(initial=0.0)) <= kind.largest:
        return None
    bits, tiny = (kind.eps, kind.tiny) if is_rounded(activation) else (0.0, 0.0)
    error = (1 + SPARE_ROUNDINGS) * (size * (bits / 2 + OWN_ERROR) + tiny)
    heights = [value(activation, box.low), value(activation, box.high)]
    for knot in activation.knots:
        at = np.clip(shaped(knot, activation.axis, box.low.ndim), box.low, box.high)
        heights.append(value(activation, at))
    reached = Box(np.minimum.reduce(heights) - error, np.maximum.reduce(heights) + error)
    return Kink(output, operand, activation, box, error), reached
