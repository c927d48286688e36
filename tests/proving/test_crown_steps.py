"""Steps of the relaxation: equal to the maps they stand for, and pulled back as the adjoint of what they apply."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel, evaluate, uniform
from onnx_nepenthe.ops.base import Mean, Reshape, Transpose
from onnx_nepenthe.proving.crown_steps import (
    Move,
    Part,
    Placed,
    absolute,
    applied,
    pulled,
    spares_samples,
    target_of,
    terms_of,
    with_samples,
)

RNG = np.random.default_rng(0)


def conv(out: int, into: int, *kernel: int, groups: int = 1, **at: tuple[int, ...]) -> Conv:
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    weight = RNG.standard_normal((out, into // groups, *kernel))
    begin, end = at.get("begin", zeros), at.get("end", zeros)
    bias = RNG.standard_normal(out)
    return Conv(weight, bias, at.get("strides", ones), at.get("dilations", ones), begin, end, groups)


MAPS: dict[str, tuple[Move, tuple[int, ...]]] = {
    "uniform": (uniform(-2.0, 0.5), (3, 4)),
    "per channel": (PerChannel(1, RNG.standard_normal(3), RNG.standard_normal(3)), (3, 4, 4)),
    "per column": (PerChannel(2, RNG.standard_normal(4), RNG.standard_normal(4)), (3, 4)),
    "dense": (Dense(1, RNG.standard_normal((5, 3)), RNG.standard_normal(5)), (3,)),
    "dense inside": (Dense(1, RNG.standard_normal((5, 3)), RNG.standard_normal(5)), (3, 4)),
    "conv": (conv(4, 3, 3, 3, begin=(1, 0), end=(1, 2)), (3, 5, 6)),
    "strided conv": (conv(4, 3, 3, 2, strides=(2, 3)), (3, 7, 8)),
    "dilated conv": (conv(4, 3, 3, 3, dilations=(2, 1), begin=(2, 1), end=(2, 1)), (3, 5, 5)),
    "grouped conv": (conv(6, 4, 3, 3, groups=2, begin=(1, 1), end=(1, 1)), (4, 4, 4)),
    "depthwise conv": (conv(4, 4, 3, 3, groups=4, begin=(1, 1), end=(1, 1), strides=(2, 2)), (4, 5, 5)),
    "conv 1-D": (conv(2, 3, 3, begin=(1,), end=(0,)), (3, 7)),
    "conv 3-D": (conv(2, 3, 2, 2, 2), (3, 3, 3, 3)),
}
LAYOUTS: dict[str, tuple[Move, tuple[int, ...]]] = {
    "mean": (Mean((2, 3), True), (3, 4, 5)),
    "mean, axes gone": (Mean((1, 3), False), (3, 4, 5)),
    "transpose": (Transpose((0, 3, 1, 2)), (3, 4, 5)),
    "reshape": (Reshape(("N", 12, 5)), (3, 4, 5)),
    "part": (Part(1, 1, 3), (4, 5)),
    "placed": (Placed(2, 1, 9), (4, 5)),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_applied_as_its_oracle_says(name: str) -> None:
    move, before = MAPS[name]
    x = RNG.standard_normal((2, *before))
    assert isinstance(move, PerChannel | Dense | Conv)
    np.testing.assert_allclose(applied(move, x), evaluate(move, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [*MAPS, *LAYOUTS])
def test_pulling_back_is_the_adjoint(name: str) -> None:
    """a·(M x - M 0) = (M^T a)·x for every form a and value x."""
    move, before = (MAPS | LAYOUTS)[name]
    assert spares_samples(move, before)
    x, zero = RNG.standard_normal((1, *before)), np.zeros((1, *before))
    y = applied(move, x) - applied(move, zero)
    a = RNG.standard_normal((3, *y.shape[1:]))
    back = pulled(move, a, before)
    assert back.shape == (3, *before)
    np.testing.assert_allclose((a * y).reshape(3, -1).sum(1), (back * x).reshape(3, -1).sum(1), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", [*MAPS, *LAYOUTS])
def test_sizes_bound_what_the_step_sums(name: str) -> None:
    move, before = (MAPS | LAYOUTS)[name]
    x = RNG.standard_normal((1, *before))
    assert np.all(np.abs(applied(move, x)) <= applied(absolute(move), np.abs(x)) + 1e-12)


def test_terms() -> None:
    assert terms_of(MAPS["conv"][0], (3, 5, 6)) == 28
    assert terms_of(MAPS["dense"][0], (3,)) == 4
    assert terms_of(LAYOUTS["mean"][0], (3, 4, 5)) == 20
    assert terms_of(LAYOUTS["reshape"][0], (3, 4, 5)) == 0


@pytest.mark.parametrize(
    "move",
    [
        PerChannel(0, np.ones(2), np.zeros(2)),
        Dense(0, np.ones((2, 2)), np.zeros(2)),
        Mean((0, 2), True),
        Transpose((1, 0, 2)),
        Reshape((4, 3)),
        Reshape((None, 3)),
        Part(0, 0, 1),
        Placed(0, 0, 2),
    ],
)
def test_what_mixes_samples_is_refused(move: Move) -> None:
    assert not spares_samples(move, (2, 3))


def test_reshapes_keep_samples_apart() -> None:
    assert target_of(Reshape(("N", 6)), (2, 3)) == (6,)
    assert target_of(Reshape((-1, 6)), (2, 3)) == (6,)
    assert target_of(Reshape((-1, 3)), (2, 3)) is None
    assert with_samples(Reshape(("N", -1, 2)), "N", (2, 3)) == Reshape(("N", 3, 2))
    assert with_samples(Reshape((1, -1)), "N", (2, 3)) == Reshape((1, -1))
    assert with_samples(Reshape(("N", -1, 4)), "N", (2, 3)) == Reshape(("N", -1, 4))
