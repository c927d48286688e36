"""Fits recover the map that made the data, in any number of batches."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel, evaluate
from onnx_nepenthe.fit import ConvFitter, DenseFitter, windows
from onnx_nepenthe.lines import LineFitter


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (3,), (1, 3, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_is_recovered(rng: np.random.Generator, kernel: tuple[int, ...], stride: int) -> None:
    strides, ones = (stride,) * len(kernel), (1,) * len(kernel)
    half = tuple(k // 2 for k in kernel)
    true = Conv(rng.standard_normal((5, 4, *kernel)), rng.standard_normal(5), strides, ones, half, half)
    fitter = ConvFitter(4, 5, kernel, strides, rng)
    for _ in range(4):
        x = rng.standard_normal((16, 4, *(9,) * len(kernel))).astype(np.float32)
        fitter.add(x, evaluate(true, x.astype(np.float64)).astype(np.float32))
    found = fitter.solve()
    assert isinstance(found.core, Conv)
    np.testing.assert_allclose(found.core.weight, true.weight, atol=2e-3)
    np.testing.assert_allclose(found.core.bias, true.bias, atol=2e-3)
    assert found.residual < 1e-5
    assert found.core.strides == strides


def test_windows_are_what_a_convolution_sees(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 7, 6))
    weight = rng.standard_normal((4, 3, 3, 3))
    conv = Conv(weight, np.zeros(4), (2, 2), (1, 1), (1, 1), (1, 1))
    by_hand = np.einsum("nchwij,ocij->nohw", windows(x, (3, 3), (2, 2)), weight)
    np.testing.assert_allclose(by_hand, evaluate(conv, x), atol=1e-12)


def test_matrix_is_recovered_in_three_axes(rng: np.random.Generator) -> None:
    true = Dense(2, rng.standard_normal((3, 6)), rng.standard_normal(3))
    fitter = DenseFitter(6, 3, 2, rng)
    for _ in range(3):
        x = rng.standard_normal((8, 5, 6)).astype(np.float32)
        fitter.add(x, evaluate(true, x.astype(np.float64)).astype(np.float32))
    found = fitter.solve()
    assert isinstance(found.core, Dense)
    np.testing.assert_allclose(found.core.weight, true.weight, atol=1e-3)
    assert found.residual < 1e-5


def test_line_is_least_squares_per_channel(rng: np.random.Generator) -> None:
    z = rng.standard_normal((50, 4, 3)) + np.array([-5.0, -0.5, 0.5, 5.0])[:, None]
    y = np.maximum(z, 0)
    halves, whole = LineFitter(4, 1), LineFitter(4, 1)
    whole.add(z, y)
    halves.add(z[:20], y[:20])
    halves.add(z[20:], y[20:])
    found, again = whole.solve().core, halves.solve().core
    assert isinstance(found, PerChannel)
    assert isinstance(again, PerChannel)
    for channel in range(4):
        slope, intercept = np.polyfit(z[:, channel].ravel(), y[:, channel].ravel(), 1)
        assert found.scale[channel] == pytest.approx(slope, abs=1e-9)
        assert found.offset[channel] == pytest.approx(intercept, abs=1e-9)
    np.testing.assert_allclose(again.scale, found.scale, atol=1e-12)


def test_constant_input_gives_a_constant() -> None:
    fitter = LineFitter(1, 1)
    fitter.add(np.full((9, 1), 3.0), np.full((9, 1), 2.0))
    line = fitter.solve().core
    assert isinstance(line, PerChannel)
    assert line.scale.tolist() == [0.0]
    assert line.offset.tolist() == [2.0]


def test_residual_of_noise_is_near_one(rng: np.random.Generator) -> None:
    fitter = DenseFitter(3, 2, 1, rng)
    fitter.add(rng.standard_normal((4000, 3)).astype(np.float32), rng.standard_normal((4000, 2)).astype(np.float32))
    assert fitter.solve().residual == pytest.approx(1.0, abs=0.05)
