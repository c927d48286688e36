"""Depthwise convolutions recover the map that made the data, in any number of batches."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.affine.maps import Conv, evaluate
from onnx_nepenthe.depthwise import DepthwiseFitter
from onnx_nepenthe.fit import ConvFitter


def true_map(rng: np.random.Generator, kernel: tuple[int, ...], stride: int) -> Conv:
    ones, half = (1,) * len(kernel), tuple(k // 2 for k in kernel)
    strides = (stride,) * len(kernel)
    return Conv(rng.standard_normal((4, 1, *kernel)), rng.standard_normal(4), strides, ones, half, half, 4)


@pytest.mark.parametrize("kernel", [(3, 3), (5,), (5, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_is_recovered(kernel: tuple[int, ...], stride: int) -> None:
    rng = np.random.default_rng(0)
    true = true_map(rng, kernel, stride)
    fitter = DepthwiseFitter(4, kernel, true.strides, rng)
    for _ in range(3):
        x = rng.standard_normal((16, 4, *(11,) * len(kernel))).astype(np.float32)
        fitter.add(x, evaluate(true, x.astype(np.float64)).astype(np.float32))
    found = fitter.solve()
    assert isinstance(found.core, Conv)
    assert found.core.groups == 4
    np.testing.assert_allclose(found.core.weight, true.weight, atol=2e-3)
    np.testing.assert_allclose(found.core.bias, true.bias, atol=2e-3)
    assert found.residual < 1e-5


def test_it_is_the_dense_fit_where_channels_have_nothing_in_common() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, 2, 6, 6)).astype(np.float32)
    y = np.maximum(x, 0)
    one, other = (
        DepthwiseFitter(2, (3, 3), (1, 1), np.random.default_rng(0)),
        ConvFitter(2, 2, (3, 3), (1, 1), np.random.default_rng(0)),
    )
    for fitter in (one, other):
        fitter.add(x, y)
    assert one.solve().residual == pytest.approx(other.solve().residual, rel=0.05)


def test_a_channel_that_is_always_0_is_no_obstacle() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((8, 2, 5, 5)).astype(np.float32)
    x[:, 1] = 0.0
    fitter = DepthwiseFitter(2, (3, 3), (1, 1), rng)
    fitter.add(x, x + 2.0)
    found = fitter.solve().core
    assert isinstance(found, Conv)
    np.testing.assert_allclose(found.bias, 2.0, atol=1e-2)
    assert np.isfinite(found.weight).all()
    assert not found.weight[1].any()
