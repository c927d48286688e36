"""Normal equations: ridges, and weights to stay near to."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.normal import TOWARDS, Normal, Sums


def system(rows: int, noise: float, seed: int = 0) -> tuple[Normal, np.ndarray]:
    """A regression of six features on two outputs, and the true weights with the bias last."""
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((7, 2))
    x = rng.standard_normal((rows, 6)).astype(np.float32)
    y = (x @ true[:-1] + true[-1] + noise * rng.standard_normal((rows, 2))).astype(np.float32)
    normal = Normal(6, 2)
    normal.add(x, y, np.arange(rows))
    return normal, true


def test_weights_are_drawn_to_those_known() -> None:
    normal, true = system(8, 3.0)
    plain, _, _ = normal.solve()
    near, _, _ = normal.solve(true)
    assert np.abs(near - true[:-1]).max() < 0.5 * np.abs(plain - true[:-1]).max()


def test_data_overrule_weights_that_are_wrong() -> None:
    normal, true = system(4000, 0.01)
    weights, bias, residual = normal.solve(true + 1.0)
    np.testing.assert_allclose(weights, true[:-1], atol=0.01)
    np.testing.assert_allclose(bias, true[-1], atol=0.01)
    assert residual < 1e-3


def test_the_largest_ridge_leaves_weights_as_they_are_but_for_the_bias() -> None:
    normal, true = system(200, 0.1)
    found = normal.both.solve(1e9, true + 1.0)
    np.testing.assert_allclose(found[:-1], true[:-1] + 1.0, atol=1e-5)
    assert TOWARDS[-1] > 1


def test_features_that_say_the_same_are_no_trouble() -> None:
    sums = Sums.of(2, 1)
    f = np.ones((10, 3), np.float32)
    sums.take(f, np.full((10, 1), 6.0, np.float32))
    assert (f @ sums.solve(0.0)).ravel().tolist() == pytest.approx([6.0] * 10)


def test_one_half_alone_is_enough() -> None:
    normal = Normal(1, 1)
    normal.add(np.array([[1.0], [2.0]], np.float32), np.array([[2.0], [4.0]], np.float32), np.zeros(2, np.int64))
    weights, bias, _ = normal.solve(np.array([[2.0], [0.0]]))
    assert (weights[0, 0], bias[0]) == pytest.approx((2.0, 0.0), abs=1e-5)
