"""What measuring found: a record that can be stored and merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.sums import LineSums


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was seen, mergeable over shards of the data.

    Attributes:
        counts: rectifier key → counts; rectifiers that cannot be measured are missing and have a note.
        samples: number of samples (whole feeds count 1 each).
        notes: what was left out, one line each, sorted.
        model_hash: of the model measured, `graph.serial.digest`.
        settings: what must agree for two measurements to be added.
        seen: rectifier key → samples it was counted on, fewer than `samples` where batches were left out.
        partial: rectifiers of which a scan counted no more than to tell which channels are constant: their other
            channels' counts are incomplete, and ties of a constant channel may be among its counts.
        lines: rectifier key → sums for least-squares lines; empty unless collected.
        classes: rectifier key → counts by class; empty unless collected.
    """

    counts: Mapping[str, RegimeCounts]
    samples: int
    notes: tuple[str, ...] = ()
    model_hash: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()
    lines: Mapping[str, LineSums] = field(default_factory=dict)
    classes: Mapping[str, ClassCounts] = field(default_factory=dict)

    def __add__(self, other: Measurement) -> Measurement:
        """The measurement of both sets of samples; exact, associative and commutative (sums of lines up to rounding).

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
            {key: self.seen.get(key, 0) + other.seen.get(key, 0) for key in {**self.seen, **other.seen}},
            self.partial | other.partial,
            {key: sums + other.lines[key] for key, sums in self.lines.items()},
            {key: counts + other.classes[key] for key, counts in self.classes.items()},
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
            if (key in self.lines) != (key in other.lines) or (key in self.classes) != (key in other.classes):
                raise UsageError(f"cannot merge: rectifier {key} has statistics in one of the measurements only")


def merge(measurements: Iterable[Measurement]) -> Measurement:
    """The sum of one or more measurements.

    Raises:
        UsageError: none given, or two that do not belong together.
    """
    every = list(measurements)
    if not every:
        raise UsageError("no measurement to merge; name at least one file")
    return reduce(Measurement.__add__, every)
