"""Two lines that hold a rectifier between them over an interval.

For a function of straight pieces, s x + max(f(v) - s v) over the vertices v (both ends and the knots between) lies
above it for any slope s. Among the slopes of its pieces and its chord, the line is taken that is closest to the
function at one point of the interval. For ReLU this gives the chord above and, at the middle, CROWN's rule
below: 0 when the negative side is longer, x otherwise.

Source: H. Zhang et al., "Efficient neural network robustness certification with general activation functions",
NeurIPS 2018, §3.3. Differs in that any number of pieces goes through one rule, and in the point, which may vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation, Number

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lines:
    """a_low x + b_low <= f(x) <= a_high x + b_high; arrays of the shape of x."""

    a_low: FloatArray
    b_low: FloatArray
    a_high: FloatArray
    b_high: FloatArray


def is_piecewise_linear(activation: Activation) -> bool:
    """Whether the function is continuous and every piece of it a line."""
    pieces = all(activation.is_exact(piece) for piece in range(activation.regimes))
    return pieces and all(activation.is_continuous(knot) for knot in range(len(activation.knots)))


def is_rounded(activation: Activation) -> bool:
    """Whether kernels compute some piece with rounding: it is neither x nor a constant."""
    numbers = [line for line in activation.lines if line is not None]
    return not all(np.all(a == 0) or (np.all(a == 1) and np.all(b == 0)) for a, b in map(_arrays, numbers))


def _arrays(line: tuple[Number, Number]) -> tuple[FloatArray, FloatArray]:
    return np.asarray(line[0], np.float64), np.asarray(line[1], np.float64)


def shaped(number: Number, axis: int | None, rank: int) -> FloatArray:
    """A number, or one per channel, so that it broadcasts to a value of that rank."""
    array = np.asarray(number, np.float64)
    if array.ndim == 0 or axis is None:
        return array.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return array.reshape(shape)


def value(activation: Activation, x: FloatArray) -> FloatArray:
    """f(x), element by element."""
    result = _line(activation, 0, x)
    for piece, knot in enumerate(activation.knots, 1):
        result = np.where(x > shaped(knot, activation.axis, x.ndim), _line(activation, piece, x), result)
    return result


def _line(activation: Activation, piece: int, x: FloatArray) -> FloatArray:
    slope, intercept = activation.lines[piece] or (0.0, 0.0)
    return np.asarray(shaped(slope, activation.axis, x.ndim) * x + shaped(intercept, activation.axis, x.ndim))


def undecided(activation: Activation, low: FloatArray, high: FloatArray) -> npt.NDArray[np.bool_]:
    """Where a knot lies strictly inside the interval."""
    inside = np.zeros(low.shape, np.bool_)
    for knot in activation.knots:
        at = shaped(knot, activation.axis, low.ndim)
        inside |= (low < at) & (at < high)
    return inside


def lines(activation: Activation, low: FloatArray, high: FloatArray, closest: float) -> Lines:
    """Lines over [low, high], element by element.

    Args:
        activation: continuous, of straight pieces.
        low, high: finite ends.
        closest: where the lines are to be closest to the function: 0 at `low`, 1 at `high`.
    """
    knots = [np.clip(shaped(knot, activation.axis, low.ndim), low, high) for knot in activation.knots]
    vertices = [low, *knots, high]
    heights = [value(activation, v) for v in vertices]
    width = high - low
    chord = np.divide(heights[-1] - heights[0], width, out=np.zeros_like(low), where=width > 0)
    slopes = [chord]
    for piece, (start, stop) in enumerate(pairwise(vertices)):
        line = activation.lines[piece] or (0.0, 0.0)
        slopes.append(np.where(start < stop, shaped(line[0], activation.axis, low.ndim), chord))
    point = low + closest * width
    below = [np.minimum.reduce([f - s * v for f, v in zip(heights, vertices, strict=True)]) for s in slopes]
    above = [np.maximum.reduce([f - s * v for f, v in zip(heights, vertices, strict=True)]) for s in slopes]
    lowest = np.argmax([s * point + b for s, b in zip(slopes, below, strict=True)], axis=0)
    highest = np.argmin([s * point + b for s, b in zip(slopes, above, strict=True)], axis=0)
    return Lines(_chosen(slopes, lowest), _chosen(below, lowest), _chosen(slopes, highest), _chosen(above, highest))


def _chosen(options: list[FloatArray], index: npt.NDArray[np.intp]) -> FloatArray:
    return np.asarray(np.take_along_axis(np.stack(options), index[None], axis=0)[0])
