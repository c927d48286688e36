"""Measurements: stored exactly, merged exactly, never mixed up."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.measure import Measurement, from_json, merge, to_json
from onnx_nepenthe.regimes import RegimeCounts


def make(seed: int = 0, **changes: Any) -> Measurement:
    rng = np.random.default_rng(seed)
    counts = RegimeCounts(
        rng.integers(0, 1 << 60, (2, 3)),
        rng.integers(0, 9, (1, 3)),
        np.array([-np.inf, 0.1, rng.normal()]),
        np.array([np.inf, 0.1, 1e-310]),
        int(rng.integers(9)),
    )
    record = Measurement({"y": counts}, 7 + seed, (f"note {seed}",), "ab" * 32, {"provider": "cpu"})
    return dataclasses.replace(record, **changes)


def test_json_gives_back_exactly_the_same() -> None:
    record = make()
    back = from_json(json.loads(json.dumps(to_json(record), allow_nan=False)))
    assert to_json(back) == to_json(record)
    for name in ("counts", "ties", "low", "high"):
        mine, theirs = getattr(record.counts["y"], name), getattr(back.counts["y"], name)
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype


def test_json_keeps_a_rectifier_without_knots() -> None:
    record = make(counts={"y": RegimeCounts.empty(1, 2)})
    assert from_json(to_json(record)).counts["y"].ties.shape == (0, 2)


def test_merging_adds_and_does_not_care_about_order() -> None:
    a, b, c = make(0), make(1), make(2)
    total = merge([a, b, c])
    assert total.samples == 7 + 8 + 9
    assert total.notes == ("note 0", "note 1", "note 2")
    np.testing.assert_array_equal(total.counts["y"].counts, sum(m.counts["y"].counts for m in (a, b, c)))
    assert to_json(merge([c, a, b])) == to_json(total)
    assert to_json(merge([a])) == to_json(a)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_hash": "cd" * 32}, "different models .hash abababababab and cdcdcdcdcdcd."),
        ({"settings": {"provider": "cuda"}}, "different provider: cpu and cuda"),
        ({"settings": {}}, "different provider: cpu and unset"),
        ({"counts": {}}, "rectifier y is in one of the measurements only"),
        ({"counts": {"y": RegimeCounts.empty(2, 4)}}, "rectifier y has other regimes or channels"),
    ],
)
def test_a_mismatch_is_refused_by_name(changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make() + make(**changes)


def test_nothing_to_merge_is_refused() -> None:
    with pytest.raises(UsageError, match="name at least one file"):
        merge([])


@pytest.mark.parametrize("data", [None, [], {}, {"version": 2}])
def test_what_is_no_measurement_is_refused(data: Any) -> None:
    with pytest.raises(UnreadableError, match="not a measurement of version 1"):
        from_json(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": "many"},
        {"samples": None},
        {"counts": []},
        {"counts": {"y": {}}},
        {"counts": {"y": to_json(make())["counts"]["y"] | {"low": [1.0]}}},
        {"counts": {"y": to_json(make())["counts"]["y"] | {"ties": [[1]]}}},
        {"counts": {"y": to_json(make())["counts"]["y"] | {"counts": [[1 << 70]]}}},
    ],
)
def test_a_damaged_measurement_is_refused(changes: Any) -> None:
    with pytest.raises(UnreadableError, match="the measurement is damaged"):
        from_json(to_json(make()) | changes)
