"""The rule for rounding: loose enough for reordered sums, tight enough for wrong answers."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.verify.tolerance import tolerance

TYPES = ("double", "float", "float16", "bfloat16", "int8")


@pytest.mark.parametrize("dtype", TYPES)
def test_it_scales_with_the_output_and_grows_with_depth(dtype: str) -> None:
    assert tolerance(dtype, 3, 20.0) == pytest.approx(20 * tolerance(dtype, 3, 1.0))
    depths = [tolerance(dtype, depth, 1.0) for depth in (1, 2, 8, 32, 128, 10_000)]
    assert depths == sorted(depths)
    assert tolerance(dtype, 0, 1.0) == tolerance(dtype, 1, 1.0)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_wrong_border_is_over_it_at_any_depth(dtype: str) -> None:
    assert tolerance(dtype, 100_000, 1.0) < 0.11


@pytest.mark.parametrize("dtype", ["float", "double"])
def test_one_in_a_thousand_is_over_it_at_any_depth(dtype: str) -> None:
    assert tolerance(dtype, 100_000, 1.0) < 1e-3


def test_silence_still_admits_the_last_bit() -> None:
    assert 0 < tolerance("float", 1, 0.0) < 1e-10


def test_unknown_types_are_named() -> None:
    with pytest.raises(ValueError, match="no tolerance for int64; known: double"):
        tolerance("int64", 1, 1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("length", [16, 1024])
def test_reordered_sums_stay_far_below_it(dtype: str, length: int) -> None:
    rng = np.random.default_rng(length)
    x, w = (rng.standard_normal((64, length)).astype(dtype) for _ in range(2))
    order = rng.permutation(length)
    forward = (x * w).sum(axis=1, dtype=dtype)
    shuffled = (x * w)[:, order].sum(axis=1, dtype=dtype)
    name = {"float16": "float16", "float32": "float", "float64": "double"}[dtype]
    error = np.abs(forward.astype(np.float64) - shuffled).max()
    assert error < tolerance(name, 1, float(np.abs(forward).max()))
