"""What a rectifier is: knots, and one line per piece between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.registry import Registry

FloatArray = npt.NDArray[np.float64]
Number = float | FloatArray
"""A number for all channels, or float64 (channels,)."""
Line = tuple[Number, Number]
"""(slope, intercept)."""
ROUNDING = 2.0**-40
"""Relative difference below which two float64 results of a few steps are one number."""


@dataclass(frozen=True, eq=False)
class Activation:
    """A scalar function applied element by element.

    Attributes:
        knots: ends of the pieces, increasing; each a number or float64 (channels,).
        lines: one per piece, len(knots) + 1; None where the function is curved.
        asymptotic: pieces whose line holds only in the limit (tails of GELU, SiLU …); they are counted
            as regimes but never give an exact decision.
        knot_above: per knot, whether z equal to the knot belongs to the piece above it; only matters
            where the function jumps. Empty means "below" for every knot.
        axis: where the channels of a per-channel knot or line lie in z, counted from 0; None when every
            parameter is one number.
    """

    knots: tuple[Number, ...]
    lines: tuple[Line | None, ...]
    asymptotic: frozenset[int] = frozenset()
    knot_above: tuple[bool, ...] = ()
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.lines) != len(self.knots) + 1:
            raise ValueError(f"{len(self.knots)} knots need {len(self.knots) + 1} lines, not {len(self.lines)}")

    @property
    def regimes(self) -> int:
        """Number of pieces."""
        return len(self.lines)

    @property
    def names(self) -> tuple[str, ...]:
        """OFF (slope 0), ON (the identity), linear (any other line) or curved, per piece."""
        return tuple(_name(line) for line in self.lines)

    def is_exact(self, piece: int) -> bool:
        """Whether the piece is a line for every z in it."""
        return self.lines[piece] is not None and piece not in self.asymptotic

    def line(self, piece: int, channels: int) -> tuple[FloatArray, FloatArray]:
        """Slope and intercept of `piece`, each float64 (channels,).

        Raises:
            ValueError: the piece is curved.
        """
        line = self.lines[piece]
        if line is None:
            raise ValueError(f"piece {piece} is curved")
        slope, intercept = line
        return (
            np.broadcast_to(np.asarray(slope, np.float64), (channels,)).copy(),
            np.broadcast_to(np.asarray(intercept, np.float64), (channels,)).copy(),
        )

    def is_continuous(self, knot: int) -> bool:
        """Whether the lines on both sides of `knot` meet there (curved pieces are taken to)."""
        below, above = self.lines[knot], self.lines[knot + 1]
        if below is None or above is None:
            return True
        at = np.asarray(self.knots[knot], np.float64)
        terms = (below[0] * at, below[1], -(above[0] * at), -np.asarray(above[1]))
        # A knot that is a quotient is rounded, so that the two sides meet only up to rounding.
        return bool(np.all(np.abs(sum(terms)) <= ROUNDING * sum(np.abs(term) for term in terms)))

    def merged(self) -> Activation:
        """The same function with neighbouring exact pieces joined where their lines are equal.

        >>> Activation(knots=(0.0,), lines=((1.0, 0.0), (1.0, 0.0))).merged().regimes
        1
        """
        kept = [knot for knot in range(len(self.knots)) if not self._is_idle(knot)]
        pieces = [0, *(knot + 1 for knot in kept)]
        return replace(
            self,
            knots=tuple(self.knots[knot] for knot in kept),
            lines=tuple(self.lines[piece] for piece in pieces),
            asymptotic=frozenset(new for new, old in enumerate(pieces) if old in self.asymptotic),
            knot_above=tuple(self.knot_above[knot] for knot in kept) if self.knot_above else (),
        )

    def _is_idle(self, knot: int) -> bool:
        below, above = self.lines[knot], self.lines[knot + 1]
        if below is None or above is None or not (self.is_exact(knot) and self.is_exact(knot + 1)):
            return False
        return all(bool(np.all(np.equal(b, a))) for b, a in zip(below, above, strict=True))


def _name(line: Line | None) -> str:
    if line is None:
        return "curved"
    if np.all(np.asarray(line[0]) == 0):
        return "OFF"
    if np.all(np.asarray(line[0]) == 1) and np.all(np.asarray(line[1]) == 0):
        return "ON"
    return "linear"


Maker = Callable[[OpView], Activation | Refused | None]
ACTIVATIONS: Registry[Maker] = Registry("activation")
"""ONNX operator type ("domain::type" outside the default domain) → maker. The maker returns None when the
operator is no rectifier (Max of two activations, say), a Refused when it is one that cannot be read."""


@dataclass(frozen=True, eq=False)
class Match:
    """A rectifier found as a pattern of several operators.

    Attributes:
        activation: what it computes, as a function of `operand`.
        operand: its pre-activation z.
        op: what reports call it ("Silu", "Gelu(erf)").
        rule: the name in `ACTIVATIONS` or `PATTERNS` that found it; filled in by `find_rectifiers`.
    """

    activation: Activation
    operand: Tensor
    op: str
    rule: str = ""


Finder = Callable[[OpView], Match | None]
PATTERNS: Registry[Finder] = Registry("pattern")
"""Pattern name → finder. A finder is called with the *last* operator of the pattern and follows
`view.inputs[i].producer` backwards."""
