"""Least squares through a rectifier: better where it counts, the same where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.normal import Normal
from onnx_nepenthe.onesided import MOST_ROWS, Bounds, OneSided

ROWS, FEATURES, OUTPUTS = 3000, 6, 3


def regression(bounds: Bounds | None, seed: int = 0, *, shifted: bool = False) -> tuple[np.ndarray, ...]:
    """Features, targets, what is beside them and the weights of a fit to curved targets."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((FEATURES, OUTPUTS)) * 2).astype(np.float32) * 3
    beside = rng.standard_normal(y.shape).astype(np.float32) if shifted else np.zeros_like(y)
    onesided = None if bounds is None else OneSided(FEATURES + 1, OUTPUTS, bounds, np.random.default_rng(1))
    normal = Normal(FEATURES, OUTPUTS, onesided)
    for rows in np.array_split(np.arange(ROWS), 4):
        normal.add(x[rows], (y - beside)[rows], rows, beside[rows] if shifted else None)
    weights, bias, _ = normal.solve()
    return x, y, beside, np.concatenate([weights, bias[None]])


def lost(x: np.ndarray, y: np.ndarray, beside: np.ndarray, weights: np.ndarray, bounds: Bounds) -> float:
    """Mean squared error behind the rectifier."""
    made = x @ weights[:-1] + weights[-1] + beside
    return float(np.square(np.clip(made, *bounds) - np.clip(y, *bounds)).mean())


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (0.0, 2.0), (-np.inf, 1.0)])
@pytest.mark.parametrize("shifted", [False, True])
def test_less_is_lost_behind_the_rectifier(bounds: Bounds, shifted: bool) -> None:
    plain, better = (lost(*regression(b, shifted=shifted), bounds) for b in (None, bounds))
    assert better < 0.97 * plain


def test_without_flat_pieces_it_is_least_squares() -> None:
    plain, same = (regression(bounds)[-1] for bounds in (None, (-np.inf, np.inf)))
    np.testing.assert_allclose(same, plain, atol=1e-5)


def test_few_rows_are_not_refined() -> None:
    one = OneSided(5, 1, (0.0, np.inf), np.random.default_rng(0))
    one.take(np.ones((19, 5), np.float32), -np.ones((19, 1), np.float32), None)
    weights = np.ones((5, 1))
    assert one.refined(weights, np.zeros((5, 1)), lambda cross: cross) is weights


def test_kept_rows_are_bounded_and_from_everywhere() -> None:
    one = OneSided(2, 1, (0.0, np.inf), np.random.default_rng(0))
    count = 5 * MOST_ROWS
    for rows in np.array_split(np.arange(count), 7):
        f = np.stack([rows, np.ones(len(rows))], axis=1).astype(np.float32)
        one.take(f, np.zeros((len(rows), 1), np.float32), None)
    kept = one._rows[0][:, 0]
    assert len(kept) == MOST_ROWS
    assert len(np.unique(kept)) == MOST_ROWS
    assert kept.mean() == pytest.approx(count / 2, rel=0.02)


def test_fewer_features_are_the_same_rows() -> None:
    one = OneSided(3, 1, (0.0, np.inf), np.random.default_rng(0))
    one.take(np.arange(12, dtype=np.float32).reshape(4, 3), np.zeros((4, 1), np.float32), None)
    fewer = one.on(np.array([0, 2]))
    np.testing.assert_array_equal(fewer._rows[0][:4], one._rows[0][:4, [0, 2]])
    assert fewer._seen == 4
