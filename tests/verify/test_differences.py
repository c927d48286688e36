"""Statistics of one output: exact cases, addition over batches, what counts as equal."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnx_nepenthe.verify.differences import OutputErrors, as_array, compare_arrays


def test_errors_are_measured_where_both_are_finite() -> None:
    wanted = np.array([[1.0, -8.0], [2.0, 3.0]], np.float32)
    got = np.array([[1.0, -8.0], [2.5, 3.25]], np.float32)
    found = compare_arrays(wanted, got, 2)
    assert (found.max_abs, found.sum_abs, found.scale) == (0.5, 0.75, 8.0)
    assert (found.worst_sample, found.elements, found.mismatches) == (1, 4, 0)


def test_nan_and_infinity_equal_themselves() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1.0])
    found = compare_arrays(values, values.copy(), 4)
    assert (found.mismatches, found.max_abs, found.scale) == (0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [(1.0, np.nan), (np.nan, 1.0), (np.inf, -np.inf), (np.inf, np.nan), (1.0, np.inf), (-np.inf, 1.0)],
)
def test_nan_or_infinity_in_one_only_is_a_mismatch(wanted: float, got: float) -> None:
    found = compare_arrays(np.array([0.0, wanted]), np.array([0.0, got]), 2)
    assert (found.mismatches, found.first_mismatch) == (1, 1)
    assert found.max_abs == 0.0


@pytest.mark.parametrize(
    "values",
    [np.array([1, 2, 3]), np.array([True, False, True]), np.array(["a", "b", "c"], dtype=object)],
    ids=["int", "bool", "string"],
)
def test_what_is_not_float_must_be_equal(values: np.ndarray) -> None:
    assert compare_arrays(values, values.copy(), 3).mismatches == 0
    found = compare_arrays(values, values[[0, 2, 1]], 3)
    assert (found.mismatches, found.first_mismatch) == (2, 1)


def test_shapes_and_types_must_be_equal() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert compare_arrays(zeros, np.zeros((2, 1), np.float32), 2).problem == "its shape is (2, 1), not (2, 3)"
    assert compare_arrays(zeros, zeros.astype(np.float64), 2).problem == "its type is float64, not float32"


def test_bfloat16_is_a_float() -> None:
    wanted = np.array([1.0, 2.0], ml_dtypes.bfloat16)
    assert compare_arrays(wanted, np.array([1.0, 2.5], ml_dtypes.bfloat16), 2).max_abs == 0.5


def test_an_output_without_a_sample_axis_counts_as_sample_zero() -> None:
    found = compare_arrays(np.zeros((3, 5)), np.ones((3, 5)), 4)
    assert (found.worst_sample, found.samples) == (0, 4)
    assert compare_arrays(np.float64(0.0), np.float64(1.0), 4).worst_sample == 0


def test_empty_outputs_are_equal() -> None:
    found = compare_arrays(np.zeros((0, 4)), np.zeros((0, 4)), 1)
    assert (found.max_abs, found.elements, found.worst_sample) == (0.0, 0, None)


pairs = hnp.arrays(np.float64, (6, 2, 3), elements=st.floats(-1e3, 1e3) | st.sampled_from([np.nan, np.inf, -np.inf]))


@given(pairs, pairs, st.integers(1, 5))
def test_batches_add_up_to_the_whole(wanted: np.ndarray, got: np.ndarray, cut: int) -> None:
    whole = compare_arrays(wanted, got, 6)
    parts = compare_arrays(wanted[:cut], got[:cut], cut) + compare_arrays(wanted[cut:], got[cut:], 6 - cut)
    assert parts.sum_abs == pytest.approx(whole.sum_abs)
    for name in ("samples", "elements", "max_abs", "scale", "worst_sample", "mismatches", "first_mismatch"):
        assert getattr(parts, name) == getattr(whole, name)


def test_addition_starts_from_nothing_and_keeps_the_first_problem() -> None:
    broken = OutputErrors(1, problem="first") + OutputErrors(1, problem="second")
    assert broken.problem == "first"
    some = compare_arrays(np.zeros(2), np.ones(2), 2)
    assert OutputErrors() + some == some


def test_sequences_and_maps_are_joined() -> None:
    assert as_array([np.array([1.0, 2.0]), np.array([[3.0]])]).tolist() == [1.0, 2.0, 3.0]
    assert as_array([{1: 0.25, 0: 0.75}, {0: 0.5, 1: 0.5}]).tolist() == [0.75, 0.25, 0.5, 0.5]
    assert as_array([]).size == 0
    assert as_array(np.float32(2.0)).shape == ()
