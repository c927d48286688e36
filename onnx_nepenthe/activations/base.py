"""What a rectifier is: knots, and one line per piece between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    knots: tuple[Number, ...]
    lines: tuple[Line | None, ...]
    asymptotic: frozenset[int] = frozenset()
    knot_above: tuple[bool, ...] = ()

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
        return bool(np.all(below[0] * at + below[1] == above[0] * at + above[1]))


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
"""ONNX operator type → maker. The maker returns None when the operator is no rectifier (Max of two
activations, say), a Refused when it is one that cannot be read."""


@dataclass(frozen=True, eq=False)
class Match:
    """A rectifier found as a pattern of several operators.

    Attributes:
        activation: what it computes, as a function of `operand`.
        operand: its pre-activation z.
        op: what reports call it ("Silu", "Gelu(erf)").
    """

    activation: Activation
    operand: Tensor
    op: str


Finder = Callable[[OpView], Match | None]
PATTERNS: Registry[Finder] = Registry("pattern")
"""Pattern name → finder. A finder is called with the *last* operator of the pattern and follows
`view.inputs[i].producer` backwards."""
