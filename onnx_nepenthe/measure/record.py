"""What measuring found: a record that can be stored and merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.regimes import RegimeCounts

JSON_VERSION = 1


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was seen, mergeable over shards of the data.

    Attributes:
        counts: rectifier key → counts; rectifiers that cannot be measured are missing and have a note.
        samples: number of samples (whole feeds count 1 each).
        notes: what was left out, one line each, sorted.
        model_hash: of the model measured, `graph.serial.digest`.
        settings: what must agree for two measurements to be added.
    """

    counts: Mapping[str, RegimeCounts]
    samples: int
    notes: tuple[str, ...] = ()
    model_hash: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Measurement) -> Measurement:
        """The measurement of both sets of samples; exact, associative and commutative.

        Raises:
            UsageError: another model, other settings or other rectifiers; says which.
        """
        self._check_mergeable(other)
        return Measurement(
            {key: counts + other.counts[key] for key, counts in self.counts.items()},
            self.samples + other.samples,
            tuple(sorted({*self.notes, *other.notes})),
            self.model_hash,
            self.settings,
        )

    def _check_mergeable(self, other: Measurement) -> None:
        if self.model_hash != other.model_hash:
            raise UsageError(
                "cannot merge measurements of different models "
                f"(hash {self.model_hash[:12]} and {other.model_hash[:12]})"
            )
        for name in sorted({*self.settings, *other.settings}):
            mine, theirs = self.settings.get(name, "unset"), other.settings.get(name, "unset")
            if mine != theirs:
                raise UsageError(f"cannot merge measurements with different {name}: {mine} and {theirs}")
        for key in sorted({*self.counts, *other.counts}):
            if key not in self.counts or key not in other.counts:
                raise UsageError(f"cannot merge: rectifier {key} is in one of the measurements only")
            if self.counts[key].counts.shape != other.counts[key].counts.shape:
                raise UsageError(f"cannot merge: rectifier {key} has other regimes or channels in the two measurements")

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`; `from_json` gives back exactly this measurement."""
        return {
            "version": JSON_VERSION,
            "model_hash": self.model_hash,
            "settings": dict(self.settings),
            "samples": self.samples,
            "notes": list(self.notes),
            "counts": {key: _json_from_counts(counts) for key, counts in self.counts.items()},
        }

    @classmethod
    def from_json(cls, data: Any) -> Measurement:
        """The measurement that `to_json` wrote.

        Raises:
            UnreadableError: not a measurement, or one of another version.
        """
        version = data.get("version") if isinstance(data, Mapping) else None
        if version != JSON_VERSION:
            raise UnreadableError(f"not a measurement of version {JSON_VERSION} (found {version}); measure again")
        try:
            return cls(
                {str(key): _counts_from_json(counts) for key, counts in data["counts"].items()},
                int(data["samples"]),
                tuple(str(note) for note in data["notes"]),
                str(data["model_hash"]),
                {str(name): str(value) for name, value in data["settings"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UnreadableError(
                f"the measurement is damaged ({type(error).__name__}: {error}); measure again"
            ) from error


def merge(measurements: Iterable[Measurement]) -> Measurement:
    """The sum of one or more measurements.

    Raises:
        UsageError: none given, or two that do not belong together.
    """
    every = list(measurements)
    if not every:
        raise UsageError("no measurement to merge; name at least one file")
    return reduce(Measurement.__add__, every)


def _json_from_counts(counts: RegimeCounts) -> dict[str, Any]:
    """Infinities as text, because JSON has none; finite floats survive JSON exactly."""
    return {
        "counts": counts.counts.tolist(),
        "ties": counts.ties.tolist(),
        "low": [value if np.isfinite(value) else str(value) for value in counts.low.tolist()],
        "high": [value if np.isfinite(value) else str(value) for value in counts.high.tolist()],
        "nonfinite": counts.nonfinite,
    }


def _counts_from_json(data: Mapping[str, Any]) -> RegimeCounts:
    counts = np.asarray(data["counts"], np.int64)
    regimes, channels = counts.shape
    ties = np.asarray(data["ties"], np.int64).reshape(regimes - 1, channels)
    low, high = (np.asarray([float(v) for v in data[end]]).reshape(channels) for end in ("low", "high"))
    return RegimeCounts(counts, ties, low, high, int(data["nonfinite"]))
