"""Channels that stand or fall together, and what is known of them at each value.

A *lane* is one position on the channel axis of a value. Lanes that an operator keeps side by side (those of a
rectifier's input and output, say) are of one class: a class is taken out of every value or of none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
VARIES = np.nan
"""In place of a constant: none is known."""
NEEDS_NO_DATA = 0
"""In place of a number of observations."""


@dataclass(frozen=True, eq=False)
class Lanes:
    """The lanes of one value.

    Attributes:
        axis: where they lie, counted from 0.
        classes: int64 (n,), as `Classes` numbers them; after a reshape one may occur several times.
        constants: float64 (n,), what the lane is at every position whatever the input; `VARIES` where unknown.
        seen: int64 (n,), observations that the constant rests on; `NEEDS_NO_DATA` for facts about the weights.
    """

    axis: int
    classes: IntArray
    constants: FloatArray
    seen: IntArray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def is_constant(self) -> BoolArray:
        """bool (n,)."""
        return ~np.isnan(self.constants)

    def repeat(self, run: int, axis: int) -> Lanes:
        """Each lane `run` times in a row, on another axis."""
        return Lanes(axis, self.classes.repeat(run), self.constants.repeat(run), self.seen.repeat(run))


@dataclass
class Classes:
    """Classes under construction, and why the ones that stay do (a union-find forest; grows, never shrinks)."""

    _parents: list[int] = field(default_factory=list)
    _reasons: dict[int, str] = field(default_factory=dict)

    def fresh(self, count: int) -> IntArray:
        """`count` new classes."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def tie(self, one: IntArray, other: IntArray) -> None:
        """Make each class of `one` the same as its counterpart in `other`; the first reason to stay counts."""
        for a, b in zip(one[one != other].tolist(), other[one != other].tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            if low != high:
                self._parents[high] = low
                reason = self._reasons.pop(high, None)
                if reason is not None:
                    self._reasons.setdefault(low, reason)

    def keep(self, classes: IntArray, reason: str) -> None:
        """Let `classes` stay; the first reason given counts."""
        for one in np.unique(classes).tolist():
            self._reasons.setdefault(self._root(one), reason)

    def reason(self, one: int) -> str:
        """Why a class stays; "" when nothing holds it."""
        return self._reasons.get(self._root(one), "")

    def roots(self, classes: IntArray) -> IntArray:
        """int64 (n,): one number per class, the same for classes that were tied."""
        found, inverse = np.unique(classes, return_inverse=True)
        return np.array([self._root(one) for one in found.tolist()], np.int64)[inverse.reshape(-1)]

    def is_free(self, classes: IntArray) -> BoolArray:
        """bool (n,): nothing holds the class."""
        found, inverse = np.unique(classes, return_inverse=True)
        return np.array([not self.reason(one) for one in found.tolist()], np.bool_)[inverse.reshape(-1)]

    def _root(self, one: int) -> int:
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one


def least_seen(*seen: IntArray) -> IntArray:
    """The weakest of several pieces of evidence, lane by lane; all of shape (n,)."""
    most = np.iinfo(np.int64).max
    least = np.min([np.where(one == NEEDS_NO_DATA, most, one) for one in seen], axis=0)
    return np.where(least == most, NEEDS_NO_DATA, least).astype(np.int64)
