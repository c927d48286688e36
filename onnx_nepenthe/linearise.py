"""Decide which rectifiers are lines: every channel in one regime, by proof or by counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.evidence import Evidence, Observed, Proved
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
UNDECIDED = -1
NEEDS_DATA = Refused("no proof without data", "give --data, or --input-range if the inputs are bounded")


@dataclass(frozen=True, eq=False)
class Decision:
    """A rectifier that is a line per channel.

    Attributes:
        rectifier: which one.
        pieces: int64 (channels,), the regime each channel is in.
        slope, intercept: float64 (channels,), the lines; (1,) when they are the same for all.
        evidence: the weakest over the channels.
        proved, observed: how many channels rest on which evidence.
    """

    rectifier: Rectifier
    pieces: IntArray
    slope: FloatArray
    intercept: FloatArray
    evidence: Evidence
    proved: int
    observed: int

    @property
    def operand(self) -> str:
        """The pre-activation."""
        return self.rectifier.operand

    @property
    def axis(self) -> int | None:
        """Axis of the channels; None when the line is the same everywhere."""
        return None if self.slope.size == 1 else self.rectifier.axis


@dataclass(frozen=True, eq=False)
class Undecided:
    """A rectifier that stays.

    Attributes:
        pieces: int64 (channels,), `UNDECIDED` for channels that change regime.
    """

    rectifier: Rectifier
    refusal: Refused
    pieces: IntArray


@dataclass(frozen=True)
class Linearised:
    """All rectifiers of a model, decided or not, in graph order."""

    decisions: Mapping[str, Decision]
    undecided: Mapping[str, Undecided]


def linearise(
    rectifiers: tuple[Rectifier, ...],
    proved: Mapping[str, tuple[IntArray, str]],
    counts: Mapping[str, RegimeCounts],
) -> Linearised:
    """Decide each rectifier.

    Args:
        rectifiers: in graph order.
        proved: by key, the proved piece per channel (`UNDECIDED` where there is no proof) and the argument.
        counts: by key; empty without data.
    """
    decisions: dict[str, Decision] = {}
    undecided: dict[str, Undecided] = {}
    for rectifier in rectifiers:
        pieces, how = proved.get(rectifier.key, (np.full(rectifier.channels or 1, UNDECIDED), ""))
        found = decide(rectifier, pieces, how, counts.get(rectifier.key))
        if isinstance(found, Decision):
            decisions[rectifier.key] = found
        else:
            undecided[rectifier.key] = found
    return Linearised(decisions, undecided)


def decide(rectifier: Rectifier, proved: IntArray, how: str, counts: RegimeCounts | None) -> Decision | Undecided:
    """Decide one rectifier; arguments as in `linearise`."""
    activation = rectifier.activation
    pieces = proved.astype(np.int64)
    if counts is not None and not counts.nonfinite:
        seen = observed_pieces(activation, counts)
        pieces = np.where(pieces == UNDECIDED, seen, pieces) if seen.shape == pieces.shape else pieces
    refusal = _refusal(activation, pieces, counts)
    if refusal is not None:
        exact = [p if p == UNDECIDED or activation.is_exact(int(p)) else UNDECIDED for p in pieces.tolist()]
        return Undecided(rectifier, refusal, np.array(exact, np.int64))
    slope, intercept = lines(activation, pieces)
    by_proof = int((proved != UNDECIDED).sum())
    by_counts = len(pieces) - by_proof
    evidence: Evidence = Proved(how)
    if by_counts and counts is not None:
        evidence = Observed(int(counts.observations[proved == UNDECIDED].min()))
    if (slope == slope[0]).all() and (intercept == intercept[0]).all():
        slope, intercept = slope[:1], intercept[:1]
    return Decision(rectifier, pieces, slope, intercept, evidence, by_proof, by_counts)


def observed_pieces(activation: Activation, counts: RegimeCounts) -> IntArray:
    """int64 (channels,): the one piece that explains every observation, or `UNDECIDED`.

    A z on a knot agrees with both pieces where the activation is continuous, and with the one the
    operator's definition puts it in where it jumps.
    """
    regimes, channels = counts.counts.shape
    fits = np.empty((regimes, channels), bool)
    total = counts.observations
    for piece in range(regimes):
        explained = counts.counts[piece].copy()
        for knot, beside in ((piece - 1, "above"), (piece, "below")):
            if 0 <= knot < regimes - 1 and _holds_tie(activation, knot, beside):
                explained += counts.ties[knot]
        fits[piece] = (explained == total) & (total > 0)
    first = fits.argmax(axis=0)
    return np.where(fits.any(axis=0), _preferred(activation, fits, first), UNDECIDED)


def _holds_tie(activation: Activation, knot: int, beside: str) -> bool:
    if activation.is_continuous(knot):
        return True
    above = bool(activation.knot_above[knot]) if activation.knot_above else False
    return above == (beside == "above")


def _preferred(activation: Activation, fits: npt.NDArray[np.bool_], first: npt.NDArray[np.intp]) -> IntArray:
    """Where several pieces explain the data (all on a knot), an exact one."""
    chosen = first.astype(np.int64)
    for piece in reversed(range(activation.regimes)):
        if activation.is_exact(piece):
            chosen = np.where(fits[piece], piece, chosen)
    return chosen


def _refusal(activation: Activation, pieces: IntArray, counts: RegimeCounts | None) -> Refused | None:
    missing = int((pieces == UNDECIDED).sum())
    if missing:
        if counts is None:
            return NEEDS_DATA
        if counts.nonfinite:
            return Refused(f"its input was NaN {counts.nonfinite} times")
        bits = counts.layer_entropy()
        return Refused(
            f"{missing} of {len(pieces)} channels change regime (entropy {bits:.3f} bits)",
            "prune or fine-tune until the layer is linear, or allow a budget",
        )
    curved = [p for p in np.unique(pieces).tolist() if activation.lines[p] is None]
    if curved:
        return Refused("its observations lie on the curved piece", "allow a budget")
    if not all(activation.is_exact(int(p)) for p in np.unique(pieces)):
        return Refused("its tails are lines only in the limit", "allow a budget")
    return None


def lines(activation: Activation, pieces: IntArray) -> tuple[FloatArray, FloatArray]:
    """Slope and intercept per channel, each float64 (channels,), of the chosen pieces."""
    channels = len(pieces)
    slope, intercept = np.zeros(channels), np.zeros(channels)
    for piece in np.unique(pieces).tolist():
        a, b = activation.line(int(piece), channels)
        chosen = pieces == piece
        slope[chosen], intercept[chosen] = a[chosen], b[chosen]
    return slope, intercept
