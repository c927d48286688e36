"""Decide which rectifiers are lines: every channel in one regime, by proof or by counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.activations.observed import UNDECIDED, is_flat, observed_pieces
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.evidence import Evidence, Observed, Proved, observations_for, rate_bound
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
__all__ = ["NEEDS_DATA", "PAY", "UNDECIDED", "Decision", "Linearised", "Support", "Undecided"]
__all__ += ["decide", "linearise", "lines", "observed_pieces"]
PAY = "pay for it with --max-drop"
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
        pieces: int64 (channels,), `UNDECIDED` for channels that change regime; after a scan of a rectifier of which
            some do, also for those of the others that are not constant.
    """

    rectifier: Rectifier
    refusal: Refused
    pieces: IntArray


@dataclass(frozen=True)
class Support:
    """What the data are worth.

    Attributes:
        samples: by rectifier, the samples it was measured on.
        partial: rectifiers that a scan looked at no further than to tell which channels are constant.
        max_flip_rate: observed decisions whose 95 % bound by samples is above it are refused; None admits all.
    """

    samples: Mapping[str, int] = field(default_factory=dict)
    partial: Collection[str] = ()
    max_flip_rate: float | None = None


@dataclass(frozen=True)
class Linearised:
    """All rectifiers of a model, decided or not, in graph order."""

    decisions: Mapping[str, Decision]
    undecided: Mapping[str, Undecided]


def linearise(
    rectifiers: tuple[Rectifier, ...],
    proved: Mapping[str, tuple[IntArray, str]],
    counts: Mapping[str, RegimeCounts],
    support: Support = Support(),
) -> Linearised:
    """Decide each rectifier.

    Args:
        rectifiers: in graph order.
        proved: by key, the proved piece per channel (`UNDECIDED` where there is no proof) and the argument.
        counts: by key; empty without data.
        support: what the counts are worth.
    """
    decisions: dict[str, Decision] = {}
    undecided: dict[str, Undecided] = {}
    for rectifier in rectifiers:
        pieces, how = proved.get(rectifier.key, (np.full(rectifier.channels or 1, UNDECIDED), ""))
        found = decide(rectifier, pieces, how, counts.get(rectifier.key), support)
        if isinstance(found, Decision):
            decisions[rectifier.key] = found
        else:
            undecided[rectifier.key] = found
    return Linearised(decisions, undecided)


def decide(
    rectifier: Rectifier, proved: IntArray, how: str, counts: RegimeCounts | None, support: Support = Support()
) -> Decision | Undecided:
    """Decide one rectifier; arguments as in `linearise`."""
    activation = rectifier.activation
    pieces = known = proved.astype(np.int64)
    samples = support.samples.get(rectifier.key, 0)
    unsupported = None if counts is None else _unsupported(samples, support.max_flip_rate)
    if counts is not None and not counts.nonfinite:
        seen = observed_pieces(activation, counts)
        pieces = np.where(pieces == UNDECIDED, seen, pieces) if seen.shape == pieces.shape else pieces
    refusal = _refusal(activation, pieces, counts, rectifier.key in support.partial)
    if refusal is None and (pieces != known).any():
        refusal = unsupported
    if refusal is not None:
        kept = pieces if unsupported is None else known
        if rectifier.key in support.partial:
            kept = np.where(is_flat(activation, kept), kept, known)
        exact = [p if p == UNDECIDED or activation.is_exact(int(p)) else UNDECIDED for p in kept.tolist()]
        return Undecided(rectifier, refusal, np.array(exact, np.int64))
    slope, intercept = lines(activation, pieces)
    by_proof = int((proved != UNDECIDED).sum())
    by_counts = len(pieces) - by_proof
    evidence: Evidence = Proved(how)
    if by_counts and counts is not None:
        evidence = Observed(int(counts.observations[proved == UNDECIDED].min()), samples, by_counts)
    if (slope == slope[0]).all() and (intercept == intercept[0]).all():
        slope, intercept = slope[:1], intercept[:1]
    return Decision(rectifier, pieces, slope, intercept, evidence, by_proof, by_counts)


def _unsupported(samples: int, max_flip_rate: float | None) -> Refused | None:
    if max_flip_rate is None or rate_bound(samples) <= max_flip_rate:
        return None
    return Refused(
        f"its {samples} samples support a flip rate of {rate_bound(samples):.1e} per channel (95 %), "
        f"not {max_flip_rate:.1e}",
        f"measure {observations_for(max_flip_rate)} samples, or allow a higher --max-flip-rate",
    )


def _refusal(activation: Activation, pieces: IntArray, counts: RegimeCounts | None, is_partial: bool) -> Refused | None:
    missing = int((pieces == UNDECIDED).sum())
    if missing:
        if counts is None:
            return NEEDS_DATA
        if counts.nonfinite:
            return Refused(f"its input was NaN {counts.nonfinite} times")
        if not counts.observations.all():
            return Refused("some of its channels were never seen", "give more data, or whole batches of it")
        if not is_partial and not counts.layer_entropy():
            return Refused(f"{missing} of {len(pieces)} channels are infinite, or on a knot where it jumps")
        least = "at least " if is_partial and missing < len(pieces) else ""
        bits = "" if is_partial else f" (entropy {counts.layer_entropy():.3f} bits)"
        return Refused(
            f"{least}{missing} of {len(pieces)} channels change regime{bits}",
            "prune it until it is linear (onnx-nepenthe prune), or pay for it with --max-drop",
        )
    curved = [p for p in np.unique(pieces).tolist() if activation.lines[p] is None]
    if curved:
        return Refused("its observations lie on the curved piece", PAY)
    if not all(activation.is_exact(int(p)) for p in np.unique(pieces)):
        return Refused("its tails are lines only in the limit", PAY)
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
