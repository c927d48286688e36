"""Delta debugging: which rewrites break a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from onnx_nepenthe.errors import VerificationError

T = TypeVar("T")


def bisect(steps: Sequence[T], passes: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """The culprits: a minimal set of steps without which the others pass; () when all pass.

    Minimal: putting any one culprit back fails again. k culprits among n steps take about k · (log2(n) + 2) calls.

    Args:
        steps: in the order they are applied.
        passes: whether the model passes with these steps alone (a subsequence of `steps`). When more steps can mend
            what fewer break, the others still pass, but the set may be larger than it need be.

    Raises:
        VerificationError: it fails even with no step at all.

    Source: as Zeller & Hildebrandt, Simplifying and Isolating Failure-Inducing Input (2002), but with a binary
        search for the first failing prefix, which takes fewer calls when culprits are few.

    >>> bisect(range(100), lambda kept: not {17, 60} <= set(kept))
    (60,)
    """
    kept = list(range(len(steps)))
    culprits: list[int] = []
    safe = 0

    def holds(chosen: Sequence[int]) -> bool:
        return passes([steps[index] for index in chosen])

    while not holds(kept):
        if not culprits and not holds([]):
            raise VerificationError(
                "verification fails even with no rewrite at all; the model or its data are to blame"
            )
        safe = _longest_passing_prefix(kept, safe, holds)
        culprits.append(kept.pop(safe))
    return tuple(steps[index] for index in _necessary(culprits, kept, holds))


def _longest_passing_prefix(kept: Sequence[int], safe: int, holds: Callable[[Sequence[int]], bool]) -> int:
    """A length whose prefix passes (or is `safe`, known to) while the one a step longer fails."""
    passing, failing = safe, len(kept)
    while failing - passing > 1:
        middle = (passing + failing) // 2
        if holds(kept[:middle]):
            passing = middle
        else:
            failing = middle
    return passing


def _necessary(culprits: list[int], kept: list[int], holds: Callable[[Sequence[int]], bool]) -> list[int]:
    """`culprits` less those that a later one made harmless; a single one is necessary, as all together failed."""
    if len(culprits) < 2:
        return culprits
    necessary = []
    for index in culprits:
        widened = sorted([*kept, index])
        if holds(widened):
            kept = widened
        else:
            necessary.append(index)
    return necessary
