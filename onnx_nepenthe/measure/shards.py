"""Measurements as plain data and as files, so that parts of the data can be measured anywhere and put together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnx_nepenthe.errors import NepentheError, UnreadableError, UsageError
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.measure.record import Measurement
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.sums import LineSums

JSON_VERSION = 1
_SUMS = ("z", "zz", "y", "yy", "zy")


def to_json(measurement: Measurement) -> dict[str, Any]:
    """Plain data for `json.dumps`; `from_json` gives back exactly this measurement."""
    return {
        "version": JSON_VERSION,
        "model_hash": measurement.model_hash,
        "settings": dict(measurement.settings),
        "samples": measurement.samples,
        "notes": list(measurement.notes),
        "seen": dict(measurement.seen),
        "partial": sorted(measurement.partial),
        "counts": {key: _from_counts(counts) for key, counts in measurement.counts.items()},
        "lines": {key: _from_sums(sums) for key, sums in measurement.lines.items()},
        "classes": {key: _from_classes(classes) for key, classes in measurement.classes.items()},
    }


def from_json(data: Any) -> Measurement:
    """The measurement that `to_json` wrote.

    Raises:
        UnreadableError: not a measurement, or one of another version.
    """
    version = data.get("version") if isinstance(data, Mapping) else None
    if version != JSON_VERSION:
        raise UnreadableError(f"not a measurement of version {JSON_VERSION} (found {version}); measure again")
    try:
        return Measurement(
            {str(key): _to_counts(counts) for key, counts in data["counts"].items()},
            int(data["samples"]),
            tuple(str(note) for note in data["notes"]),
            str(data["model_hash"]),
            {str(name): str(value) for name, value in data["settings"].items()},
            {str(key): int(seen) for key, seen in data["seen"].items()},
            frozenset(str(key) for key in data["partial"]),
            {str(key): _to_sums(sums) for key, sums in data["lines"].items()},
            {str(key): _to_classes(classes) for key, classes in data["classes"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UnreadableError(f"the measurement is damaged ({type(error).__name__}: {error}); measure again") from error


def read_measurement(path: Path) -> Measurement:
    """The measurement in a file: what `to_json` made, or a report that holds it as `measurement`.

    Raises:
        UnreadableError: no such file, not JSON, no measurement in it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path}: not JSON ({error})") from error
    if isinstance(data, Mapping) and "schema_version" in data:
        if data.get("measurement") is None:
            raise UnreadableError(f"{path}: a report without a measurement; run inspect with --data and --json")
        data = data["measurement"]
    return _named(path, lambda: from_json(data))


def read_measurements(paths: Iterable[Path]) -> Measurement:
    """The sum of the measurements in one or more files.

    Raises:
        UnreadableError: see `read_measurement`.
        UsageError: no file, or one that does not belong to those before it; says which.
    """
    total: Measurement | None = None
    for path in paths:
        found, before = read_measurement(path), total
        total = found if before is None else _named(path, lambda a=before, b=found: a + b)
    if total is None:
        raise UsageError("no measurement to merge; name at least one file")
    return total


def _named(path: Path, make: Any) -> Measurement:
    """What `make` makes; its errors gain the file's name."""
    try:
        made: Measurement = make()
    except NepentheError as error:
        raise type(error)(f"{path}: {error}") from error
    return made


def _from_counts(counts: RegimeCounts) -> dict[str, Any]:
    """Infinities as text, because JSON has none; finite floats survive JSON exactly."""
    return {
        "counts": counts.counts.tolist(),
        "ties": counts.ties.tolist(),
        "low": _from_floats(counts.low),
        "high": _from_floats(counts.high),
        "nonfinite": counts.nonfinite,
    }


def _to_counts(data: Mapping[str, Any]) -> RegimeCounts:
    counts = np.asarray(data["counts"], np.int64)
    regimes, channels = counts.shape
    ties = np.asarray(data["ties"], np.int64).reshape(regimes - 1, channels)
    low, high = (_to_floats(data[end]).reshape(channels) for end in ("low", "high"))
    return RegimeCounts(counts, ties, low, high, int(data["nonfinite"]))


def _from_sums(sums: LineSums) -> dict[str, Any]:
    return {"n": sums.n.tolist(), **{name: _from_floats(getattr(sums, name)) for name in _SUMS}}


def _to_sums(data: Mapping[str, Any]) -> LineSums:
    n = np.asarray(data["n"], np.int64)
    return LineSums(n, *(_to_floats(data[name]).reshape(n.shape) for name in _SUMS))


def _from_classes(classes: ClassCounts) -> dict[str, Any]:
    return {str(label): _from_counts(counts) for label, counts in classes.by_class.items()}


def _to_classes(data: Mapping[str, Any]) -> ClassCounts:
    return ClassCounts({int(label): _to_counts(counts) for label, counts in data.items()})


def _from_floats(values: Any) -> list[float | str]:
    return [value if np.isfinite(value) else str(value) for value in values.tolist()]


def _to_floats(values: Any) -> Any:
    return np.asarray([float(value) for value in values], np.float64)
