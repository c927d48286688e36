"""Prove which piece of a rectifier its operand always lies in, by interval arithmetic over the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.proving import INTEGERS, TRANSFERS, Bounds, Call, constant_bounds, interval, stored, top

__all__ = ["UNPROVED", "Bounds", "bounds_of", "describe", "describe_relaxed", "prove_regimes"]
FloatArray = npt.NDArray[np.float64]
DEFAULT_DOMAINS = ("", "ai.onnx")
UNPROVED = -1
"""In place of a piece: none is certain."""
KNOT_SLACK = 2.0**-20
"""Relative, so that a knot at 0 has none."""


def bounds_of(view: GraphView, input_ranges: Mapping[str, tuple[float, float]]) -> Mapping[str, Bounds]:
    """Bounds of every input and every operator's output, for all admissible inputs; time is linear in the graph.

    An input is admissible when it has no NaN and lies in its range: the given one, that of its integer type,
    or (-inf, inf) with both infinities included. Sizes are taken to be at least 1.

    Args:
        view: the graph.
        input_ranges: input name → (low, high), both ends included.

    Raises:
        UsageError: a range names no input, or has no numbers in it.
    """
    _check_ranges(view, input_ranges)
    known: dict[str, Bounds] = {}
    for name in view.inputs:
        low, high = input_ranges.get(name, (-np.inf, np.inf))
        known[name] = _input_bounds(view.tensors[name], low, high)
    for op in view.ops:
        known.update(_outputs(op, known, view.tensors))
    return known


def _check_ranges(view: GraphView, input_ranges: Mapping[str, tuple[float, float]]) -> None:
    for name, (low, high) in input_ranges.items():
        if name not in view.inputs:
            raise UsageError(f"input range for {name}: no such input; the model's inputs are {', '.join(view.inputs)}")
        if not low <= high:
            raise UsageError(f"input range for {name}: {low} is not below {high}; write it as LOW:HIGH, LOW first")


def _input_bounds(tensor: Tensor, low: float, high: float) -> Bounds:
    if tensor.dtype in INTEGERS:
        least, most = INTEGERS[tensor.dtype]
        return interval(max(low, least), min(high, most))
    return stored(interval(low, high), tensor.dtype)


def _outputs(op: OpView, known: Mapping[str, Bounds], tensors: Mapping[str, Tensor]) -> dict[str, Bounds]:
    constants = {name: tensors[name].constant for name in op.outputs if name}
    folded = {name: constant_bounds(value) for name, value in constants.items() if value is not None}
    if folded:
        return folded
    transfer = TRANSFERS.get(op.op_type) if op.domain in DEFAULT_DOMAINS and not op.has_subgraph else None
    dtypes = [tensors[name].dtype if name else "" for name in op.outputs]
    found: Bounds | tuple[Bounds, ...] = ()
    if transfer is not None:
        found = transfer(Call(op, known, dtypes[0]))
    every = (found,) if isinstance(found, Bounds) else found
    result = {}
    for index, name in enumerate(op.outputs):
        if name:
            bounds = every[index] if index < len(every) else top()
            result[name] = stored(bounds, dtypes[index])
    return result


def prove_regimes(activation: Activation, bounds: Bounds, channels: int, axis: int) -> npt.NDArray[np.int64]:
    """The piece in which z must lie, int64 (channels,); -1 where none is certain.

    A z on a knot lies in both pieces when the activation is continuous there; then it may even pass the knot in
    the last places, as kernels of saturating functions do, because the lines differ by no more than that. Where
    the activation jumps, z on the knot lies in the piece it belongs to. A piece of slope 0 turns a NaN (and, as
    0 * inf, an infinity) into something else than the activation does, so it is proved for finite z only.

    Args:
        activation: the rectifier.
        bounds: of its operand z.
        channels: of the rectifier.
        axis: the axis of z they lie on, counted from 0.
    """
    if activation.axis not in (None, axis):
        return np.full(channels, UNPROVED, np.int64)
    if bounds.axis != axis or bounds.channels != channels:
        bounds = bounds.hull()
    low, high = np.broadcast_to(bounds.low, channels), np.broadcast_to(bounds.high, channels)
    finite = np.isfinite(low) & np.isfinite(high) & (not bounds.may_be_nan)
    proved = np.full(channels, UNPROVED, np.int64)
    for piece in sorted(range(activation.regimes), key=lambda p: not activation.is_exact(p)):
        inside = _is_above(activation, piece - 1, low) & _is_below(activation, piece, high)
        if activation.is_exact(piece):
            inside &= finite | (activation.line(piece, channels)[0] != 0)
        proved[inside & (proved == UNPROVED)] = piece
    return proved


def _is_above(activation: Activation, knot: int, low: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether everything from `low` on lies above the knot at index `knot` (there is none before the first)."""
    if knot < 0:
        return np.ones(low.shape, np.bool_)
    at = np.asarray(activation.knots[knot], np.float64)
    if activation.is_continuous(knot):
        return np.asarray(low >= at - KNOT_SLACK * np.abs(at))
    return np.asarray(low >= at if _belongs_above(activation, knot) else low > at)


def _is_below(activation: Activation, knot: int, high: FloatArray) -> npt.NDArray[np.bool_]:
    if knot >= len(activation.knots):
        return np.ones(high.shape, np.bool_)
    at = np.asarray(activation.knots[knot], np.float64)
    if activation.is_continuous(knot):
        return np.asarray(high <= at + KNOT_SLACK * np.abs(at))
    return np.asarray(high < at if _belongs_above(activation, knot) else high <= at)


def _belongs_above(activation: Activation, knot: int) -> bool:
    return bool(activation.knot_above) and activation.knot_above[knot]


def describe(bounds: Bounds) -> str:
    """The bounds as evidence.

    >>> describe(interval(0.0, float("inf"))), describe(interval([-1, 0], [0, 2], axis=1))
    ('z in [0, inf)', 'z in [-1, 2], told apart by channel')
    """
    return f"z in {_range(bounds)}" + ("" if bounds.axis is None else ", told apart by channel")


def describe_relaxed(pieces: npt.NDArray[np.int64], bounds: Bounds, inputs: Mapping[str, Bounds]) -> str:
    """Bounds by linear relaxation as evidence: of the proved channels of each piece, and for which inputs.

    Args:
        pieces: int64 (channels,), -1 where nothing is proved.
        bounds: of the operand.
        inputs: bounds of the graph's inputs.

    >>> describe_relaxed(np.array([1, -1]), interval([0.12, -3], [9, 3], axis=1), {"input": interval(0, 1)})
    'CROWN bound z in [0.12, 9] for input in [0, 1]'
    """
    low, high = np.broadcast_to(bounds.low, pieces.shape), np.broadcast_to(bounds.high, pieces.shape)
    proved = sorted({int(piece) for piece in pieces if piece != UNPROVED})
    ranges = [_range(interval(low[pieces == piece].min(), high[pieces == piece].max())) for piece in proved]
    given = ", ".join(f"{name} in {_range(known)}" for name, known in inputs.items())
    return f"CROWN bound z in {' or '.join(ranges)} for {given}"


def _range(bounds: Bounds) -> str:
    hull = bounds.hull()
    low, high = float(hull.low), float(hull.high)
    opening, closing = "(" if low == -np.inf else "[", ")" if high == np.inf else "]"
    return f"{opening}{low:.4g}, {high:.4g}{closing}"
