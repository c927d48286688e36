"""The split rule and the choice a limit makes."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.sources.split import check_part, part_size, split, thin

SEEDS = st.integers(0, 2**32)


@given(st.integers(0, 200), SEEDS)
def test_parts_are_disjoint_and_complete_with_one_of_five_verifying(total: int, seed: int) -> None:
    calibration = list(split(range(total), "calibration", seed))
    verification = list(split(range(total), "verification", seed))
    assert sorted(calibration + verification) == list(split(range(total), "all", seed)) == list(range(total))
    assert calibration == sorted(calibration)
    assert len(verification) == part_size(total, "verification")
    assert len(calibration) == part_size(total, "calibration")
    if total > 1:
        blocks = [number // 5 for number in verification]
        assert blocks == list(range(-(-total // 5)))
    else:
        assert verification == []


@given(st.integers(1, 60), st.integers(0, 60), SEEDS)
def test_more_data_change_no_full_block(total: int, more: int, seed: int) -> None:
    full = total // 5 * 5
    before = [n for n in split(range(total), "verification", seed) if n < full]
    assert before == [n for n in split(range(total + more), "verification", seed) if n < full]


@pytest.mark.parametrize("period", [2, 5, 10, 25])
def test_labels_with_a_period_are_verified_evenly(period: int) -> None:
    verified = np.fromiter(split(range(10_000), "verification", 0), int) % period
    shares = np.bincount(verified, minlength=period) / len(verified)
    assert np.abs(shares * period - 1).max() < 0.35


def test_another_seed_is_another_split() -> None:
    assert list(split(range(100), "verification", 0)) != list(split(range(100), "verification", 1))


def test_it_is_lazy() -> None:
    endless = iter(int, 1)
    assert list(islice(split(endless, "calibration", 0), 8)) == [0] * 8


@given(st.integers(1, 300), st.integers(1, 300), SEEDS)
def test_thinning_takes_one_of_each_stretch(total: int, limit: int, seed: int) -> None:
    taken = list(thin(range(total), total, limit, seed))
    assert len(taken) == min(total, limit)
    assert taken == sorted(set(taken))
    if limit < total:
        stretches = [(at * total // limit, (at + 1) * total // limit) for at in range(limit)]
        assert all(start <= n < end for n, (start, end) in zip(taken, stretches, strict=True))


def test_thinning_falls_not_in_step_with_periodic_labels() -> None:
    classes = np.fromiter(thin(range(1000), 1000, 100, 0), int) % 10
    assert len(set(classes.tolist())) == 10


def test_unknown_parts_are_named() -> None:
    with pytest.raises(UsageError, match="'test'"):
        check_part("test")
