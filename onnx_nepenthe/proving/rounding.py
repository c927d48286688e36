"""What floating point does to exact bounds: rounding, overflow, wrapping integers.

Single operations (+, -, *, /) are correctly rounded by IEEE 754 and rounding is monotone, so rounding
the exact ends to the tensor's type bounds the rounded result. Sums of many terms are monotone in each
term too, whatever their order, so their extremes are the sums of the extreme terms; such a sum of n
terms differs from the exact one by at most n*u*Σ|term|.

Source: C.-P. Jeannerod, S. M. Rump, "Improved error bounds for inner products in floating-point
arithmetic", SIAM J. Matrix Anal. Appl. 34 (2013), for the bound without a limit on n. We use (n+4)*2u,
which leaves room for a bias or scale that an optimiser folds into the weights. A sum whose terms have one
sign keeps it; this holds for direct and GEMM convolutions, not for Winograd or FFT ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.proving.bounds import Bounds, FloatArray, interval, top

SPARE_TERMS = 4


@dataclass(frozen=True)
class Precision:
    """A floating-point type.

    Attributes:
        eps: distance from 1 to the next number, twice the unit roundoff.
        tiny: smallest normal number; smaller ones may be flushed to 0.
        largest: largest finite number.
    """

    eps: float
    tiny: float
    largest: float


FLOATS = {
    "double": Precision(2.0**-52, 2.0**-1022, float(np.finfo(np.float64).max)),
    "float": Precision(2.0**-23, 2.0**-126, float(np.finfo(np.float32).max)),
    "float16": Precision(2.0**-10, 2.0**-14, 65504.0),
    "bfloat16": Precision(2.0**-7, 2.0**-126, 3.3895313892515355e38),
}
UNKNOWN = Precision(2.0**-7, 2.0**-14, 65504.0)
"""The coarser of every pair: for values whose type shape inference could not find."""
INTEGERS = {
    "bool": (0.0, 1.0),
    **{f"uint{bits}": (0.0, 2.0**bits - 1) for bits in (2, 4, 8, 16, 32, 64)},
    **{f"int{bits}": (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) for bits in (2, 4, 8, 16, 32, 64)},
}


def precision_of(dtype: str) -> Precision:
    """The precision of an ONNX type ("float", "float16" …); the coarsest when unknown."""
    return FLOATS.get(dtype, UNKNOWN)


def stored(bounds: Bounds, dtype: str) -> Bounds:
    """What is left of exact `bounds` when the values are stored as `dtype`.

    Integers that leave their type wrap around: then only the type's range is known. Of types other than
    integers, "double", "float", "float16", "bfloat16" and "" (unknown) nothing is claimed.

    >>> stored(interval(0.0, 70000.0), "float16").high.item(), stored(interval(0.0, 300.0), "uint8").high.item()
    (inf, 255.0)
    """
    if dtype in INTEGERS:
        return _stored_integer(bounds, *INTEGERS[dtype])
    if dtype not in FLOATS and dtype != "":
        return top()
    kind = precision_of(dtype)
    low = np.minimum(_rounded(bounds.low, dtype, -1.0), kind.largest)
    high = np.maximum(_rounded(bounds.high, dtype, 1.0), -kind.largest)
    low = np.where((low > 0) & (low < kind.tiny), 0.0, low)
    high = np.where((high < 0) & (high > -kind.tiny), 0.0, high)
    return interval(low, high, bounds.axis, bounds.may_be_nan)


def _stored_integer(bounds: Bounds, least: float, most: float) -> Bounds:
    low, high = np.floor(bounds.low), np.ceil(bounds.high)
    if bounds.may_be_nan:
        return interval(least, most)
    wraps = (low < least) | (high > most)
    return interval(np.where(wraps, least, low), np.where(wraps, most, high), bounds.axis)


def _rounded(end: FloatArray, dtype: str, outwards: float) -> FloatArray:
    if dtype == "double":
        return end
    with np.errstate(over="ignore"):
        if dtype == "float":
            return end.astype(np.float32).astype(np.float64)
        if dtype == "float16":
            return end.astype(np.float16).astype(np.float64)
    kind = precision_of(dtype)
    moved = np.asarray(end + outwards * np.abs(end) * kind.eps)
    return np.where(np.abs(moved) > kind.largest, np.copysign(np.inf, moved), moved)


@dataclass(frozen=True, eq=False)
class Extremes:
    """A sum at its two extremes, each split by the sign of its terms (so that no cancellation is hidden).

    Attributes:
        low_plus, low_minus: positive and negative part of the smallest sum.
        high_plus, high_minus: positive and negative part of the largest sum.
    """

    low_plus: FloatArray
    low_minus: FloatArray
    high_plus: FloatArray
    high_minus: FloatArray

    @classmethod
    def of(cls, low: FloatArray, high: FloatArray) -> Extremes:
        """One term with these ends."""
        return cls(np.maximum(low, 0), np.minimum(low, 0), np.maximum(high, 0), np.minimum(high, 0))

    def __add__(self, other: Extremes) -> Extremes:
        """Both sums together."""
        return Extremes(
            self.low_plus + other.low_plus,
            self.low_minus + other.low_minus,
            self.high_plus + other.high_plus,
            self.high_minus + other.high_minus,
        )

    def times(self, count: float) -> Extremes:
        """`count` such terms (which may be inf: unknown)."""
        parts = (self.low_plus, self.low_minus, self.high_plus, self.high_minus)
        with np.errstate(invalid="ignore"):
            return Extremes(*(np.where(part == 0, 0.0, part * count) for part in parts))


def rounded_sum(
    ends: Extremes, terms: float, precision: Precision, *, axis: int | None, may_be_nan: bool, peak: float = 1.0
) -> Bounds:
    """Bounds of a sum computed in floating point, in any order.

    Args:
        ends: the exact sum at its extremes.
        terms: how many terms it has (inf: unknown).
        precision: of the accumulation.
        axis: the axis the ends lie on.
        may_be_nan: whether an operand may be NaN or infinite in a way that makes one.
        peak: how much larger than the result intermediate sums are (an average sums first).
    """
    low = _low_end(ends.low_plus, ends.low_minus, terms, precision, peak)
    high = -_low_end(-ends.high_minus, -ends.high_plus, terms, precision, peak)
    with np.errstate(invalid="ignore"):
        overflows = (ends.high_plus * peak > precision.largest) & (-ends.low_minus * peak > precision.largest)
    return interval(low, high, axis, may_be_nan or bool(np.any(overflows)))


def _low_end(plus: FloatArray, minus: FloatArray, terms: float, precision: Precision, peak: float) -> FloatArray:
    """The smallest sum, less its rounding error; exact in sign when no term is negative."""
    size = plus - minus
    with np.errstate(invalid="ignore", over="ignore"):
        slack = np.where(size == 0, 0.0, (terms + SPARE_TERMS) * (size * precision.eps + precision.tiny))
        low = np.where(size * peak > precision.largest, -np.inf, plus + minus - slack)
    return np.where(minus == 0, np.fmax(low, 0.0), low)
