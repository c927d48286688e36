"""Sums for least-squares lines: against numpy's own fit, added in any order."""

import numpy as np
import pytest

from onnx_nepenthe.sums import LineSums


def sums_of(z: np.ndarray, y: np.ndarray) -> LineSums:
    """Of (observations, channels)."""
    n = np.full(z.shape[1], len(z), np.int64)
    return LineSums(n, z.sum(0), (z * z).sum(0), y.sum(0), (y * y).sum(0), (z * y).sum(0))


def test_line_and_residual_are_those_of_polyfit() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(3.0, 2.0, (500, 4))
    y = np.maximum(z, 1.0)
    slope, intercept = sums_of(z, y).line()
    residual = sums_of(z, y).residual()
    for at in range(4):
        a, b = np.polyfit(z[:, at], y[:, at], 1)
        assert slope[at] == pytest.approx(a, rel=1e-9)
        assert intercept[at] == pytest.approx(b, rel=1e-9)
        left = np.mean((y[:, at] - a * z[:, at] - b) ** 2) / y[:, at].var()
        assert residual[at] == pytest.approx(left, rel=1e-9)


def test_shards_add_up() -> None:
    rng = np.random.default_rng(1)
    z = rng.integers(-8, 9, (60, 2)).astype(np.float64)
    y = np.maximum(z, 0)
    merged = sums_of(z[:20], y[:20]) + sums_of(z[20:], y[20:])
    whole = sums_of(z, y)
    for name in ("n", "z", "zz", "y", "yy", "zy"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    empty = LineSums.empty(2) + whole
    np.testing.assert_array_equal(empty.zy, whole.zy)


def test_channels_that_never_change_get_their_mean() -> None:
    z, y = np.full((5, 1), 2.5), np.full((5, 1), 0.7)
    slope, intercept = sums_of(z, y).line()
    assert slope.tolist() == [0.0]
    assert intercept.tolist() == pytest.approx([0.7])
    assert sums_of(z, y).residual().tolist() == [0.0]


def test_nothing_seen_gives_zeros() -> None:
    slope, intercept = LineSums.empty(3).line()
    assert slope.tolist() == intercept.tolist() == [0.0] * 3


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3 channels"):
        LineSums.empty(2) + LineSums.empty(3)
