"""How far one output strays from its reference: statistics that add up over batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OutputErrors:
    """Sufficient statistics of one output over some samples.

    Attributes:
        samples: how many samples they cover.
        elements: how many numbers were compared.
        sum_abs, max_abs: of the absolute errors where both are finite.
        scale: largest finite magnitude of the reference.
        worst_sample: where `max_abs` is; None before any error.
        mismatches: elements that must be equal and are not: integers, booleans, strings, NaN or infinity in one only.
        first_mismatch: the sample of the first of them.
        problem: why the two could not be compared at all ("" when they could).
    """

    samples: int = 0
    elements: int = 0
    sum_abs: float = 0.0
    max_abs: float = 0.0
    scale: float = 0.0
    worst_sample: int | None = None
    mismatches: int = 0
    first_mismatch: int | None = None
    problem: str = ""

    def __add__(self, other: OutputErrors) -> OutputErrors:
        """Statistics over these samples followed by those of `other`."""
        worst = self.worst_sample if self.max_abs >= other.max_abs else _shifted(other.worst_sample, self.samples)
        first = self.first_mismatch
        return OutputErrors(
            samples=self.samples + other.samples,
            elements=self.elements + other.elements,
            sum_abs=self.sum_abs + other.sum_abs,
            max_abs=max(self.max_abs, other.max_abs),
            scale=max(self.scale, other.scale),
            worst_sample=worst,
            mismatches=self.mismatches + other.mismatches,
            first_mismatch=_shifted(other.first_mismatch, self.samples) if first is None else first,
            problem=self.problem or other.problem,
        )


def compare_arrays(reference: Array, result: Array, samples: int) -> OutputErrors:
    """Statistics of `result` against `reference`, both one batch of `samples` (rows, when the first axis is as long).

    NaN equals NaN and an infinity equals itself.

    >>> compare_arrays(np.array([1.0, np.nan]), np.array([1.5, np.nan]), 2).max_abs
    0.5
    """
    if reference.shape != result.shape:
        return OutputErrors(samples, problem=f"its shape is {result.shape}, not {reference.shape}")
    if reference.dtype != result.dtype:
        return OutputErrors(samples, problem=f"its type is {result.dtype}, not {reference.dtype}")
    if not is_float(reference):
        unequal = np.asarray(reference != result)
        return OutputErrors(samples, unequal.size, mismatches=int(unequal.sum()), first_mismatch=_row(unequal, samples))
    wanted, got = reference.astype(np.float64), result.astype(np.float64)
    finite = np.isfinite(wanted) & np.isfinite(got)
    unequal = ~finite & (wanted != got) & ~(np.isnan(wanted) & np.isnan(got))
    errors = np.abs(np.subtract(wanted, got, where=finite, out=np.zeros_like(wanted)))
    return OutputErrors(
        samples=samples,
        elements=wanted.size,
        sum_abs=float(errors.sum()),
        max_abs=float(errors.max(initial=0.0)),
        scale=float(np.abs(wanted).max(initial=0.0, where=np.isfinite(wanted))),
        worst_sample=_row(errors, samples),
        mismatches=int(unequal.sum()),
        first_mismatch=_row(unequal, samples),
    )


def is_float(array: Array) -> bool:
    """Whether the array holds floats of any width (bfloat16 is not a kind of numpy's)."""
    return array.dtype.name.startswith(("float", "bfloat"))


def as_array(value: Any) -> Array:
    """An output of a session as one array; sequences and maps (in the order of their keys) are joined."""
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [np.atleast_1d(as_array(item)) for item in value]
        return np.concatenate([part.reshape(-1) for part in parts]) if parts else np.zeros(0)
    return np.asarray(value)


def _row(values: Array, samples: int) -> int | None:
    """The sample of the first largest value, None when all are zero."""
    if not values.any():
        return None
    if values.ndim == 0 or values.shape[0] != samples:
        return 0
    return int(np.unravel_index(np.argmax(values), values.shape)[0])


def _shifted(sample: int | None, by: int) -> int | None:
    return None if sample is None else sample + by
