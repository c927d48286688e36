"""Whether what was decided on one set of data still holds on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.activations.observed import UNDECIDED, exact_pieces, explaining, is_flat
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts


@dataclass(frozen=True)
class Drift:
    """A decision that no longer holds.

    Attributes:
        key, label: of the rectifier.
        was_line: whether all of it was a line; otherwise some channels of it were constant.
        channels: those that were seen outside their regime.
        outside: observations outside, at least; of how many `observations`, of the channels that drifted most.
        observations: of one channel on the new data, at least.
        nonfinite: how many z were NaN on the new data.
    """

    key: str
    label: str
    was_line: bool
    channels: tuple[int, ...]
    outside: int
    observations: int
    nonfinite: int = 0

    def __str__(self) -> str:
        if self.nonfinite:
            return f"{self.label}: its input was NaN {self.nonfinite} times"
        count = len(self.channels)
        share = f"{100 * self.outside / max(self.observations, 1):.2g} % of its observations"
        if self.was_line:
            left = "1 channel leaves its regime," if count == 1 else f"{count} channels leave their regime, one of them"
            return f"{self.label}: was a line; {left} in {share}"
        left = "1 channel was constant and is not," if count == 1 else f"{count} were constant and are not, one"
        return f"{self.label}: {left} in {share}"


def drifts(rectifiers: Sequence[Rectifier], recorded: Measurement, new: Measurement) -> tuple[Drift, ...]:
    """The decisions on `recorded` that `new` contradicts, in graph order.

    Decisions are rectifiers that were lines, and constant channels of the others (they may have been cut).

    Raises:
        UsageError: the two are not of one model.
    """
    check_same_model(recorded.model_hash, new.model_hash)
    found = []
    for rectifier in rectifiers:
        before, after = recorded.counts.get(rectifier.key), new.counts.get(rectifier.key)
        if before is None or after is None or before.nonfinite:
            continue
        drift = _drift(rectifier, before, after)
        if drift is not None:
            found.append(drift)
    return tuple(found)


def check_same_model(recorded: str, own: str) -> None:
    """Raises UsageError when the two hashes differ."""
    if recorded != own:
        raise UsageError(
            f"the measurement is of another model (hash {recorded[:12]}, this one has {own[:12]}); measure this one"
        )


def _drift(rectifier: Rectifier, before: RegimeCounts, after: RegimeCounts) -> Drift | None:
    activation = rectifier.activation
    if before.counts.shape != after.counts.shape or len(before.counts) != activation.regimes:
        raise UsageError(f"the measurement has other regimes or channels of {rectifier.label}; measure again")
    pieces = exact_pieces(activation, before)
    was_line = bool((pieces != UNDECIDED).all())
    decided = (pieces != UNDECIDED) & (was_line | is_flat(activation, pieces))
    at = np.arange(len(pieces))
    holds = explaining(activation, after)[np.where(decided, pieces, 0), at] | (after.observations == 0)
    gone = decided & ~holds
    if not gone.any() and not (after.nonfinite and decided.any()):
        return None
    outside = np.where(gone, after.observations - after.counts[np.where(decided, pieces, 0), at], 0)
    return Drift(
        rectifier.key,
        rectifier.label,
        was_line,
        tuple(np.flatnonzero(gone).tolist()),
        int(outside.max()),
        int(after.observations[int(outside.argmax())]),
        after.nonfinite,
    )
