"""Lines around rectifiers: they hold the function, and are the ones that the literature gives for ReLU."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.proving.crown_lines import is_piecewise_linear, is_rounded, lines, undecided, value

RELU = Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)))
RELU6 = Activation((0.0, 6.0), ((0.0, 0.0), (1.0, 0.0), (0.0, 6.0)))
STEP = Activation((1.0,), ((0.0, 0.0), (1.0, 0.0)))
SLOPES, KNOTS = np.array([0.1, -0.5, 2.0]), np.array([0.0, 1.0, 2.0])
FUNCTIONS = {
    "relu": RELU,
    "leaky": Activation((0.0,), ((0.1, 0.0), (1.0, 0.0))),
    "abs": Activation((0.0,), ((-1.0, 0.0), (1.0, 0.0))),
    "relu6": RELU6,
    "hard sigmoid": Activation((-3.0, 3.0), ((0.0, 0.0), (1 / 6, 0.5), (0.0, 1.0))),
    "prelu": Activation((0.0,), ((SLOPES, 0.0), (1.0, 0.0)), axis=1),
    "knots by channel": Activation(
        (np.array([0.0, 1.0, 2.0]),), ((0.0, 0.0), (1.0, np.array([0.0, -1.0, -2.0]))), axis=1
    ),
}


@pytest.mark.parametrize("closest", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_lines_hold_the_function(name: str, closest: float) -> None:
    activation, rng = FUNCTIONS[name], np.random.default_rng(0)
    ends = np.sort(rng.normal(0, 4, (2, 3, 50)), axis=0)
    low, high = ends[0][None], ends[1][None]
    high[..., :5] = low[..., :5]
    found = lines(activation, low, high, closest)
    for share in np.linspace(0, 1, 21):
        x = low + share * (high - low)
        y = value(activation, x)
        assert np.all(found.a_low * x + found.b_low <= y + 1e-12)
        assert np.all(found.a_high * x + found.b_high >= y - 1e-12)


def test_lines_of_relu_are_those_of_crown() -> None:
    """The chord above; below, slope 0 where the negative side is longer and 1 where the positive side is."""
    found = lines(RELU, np.array([-3.0, -1.0, 1.0, -2.0]), np.array([1.0, 3.0, 2.0, -1.0]), 0.5)
    np.testing.assert_allclose(found.a_high, [0.25, 0.75, 1, 0])
    np.testing.assert_allclose(found.b_high, [0.75, 0.75, 0, 0])
    np.testing.assert_allclose(found.a_low, [0, 1, 1, 0])
    np.testing.assert_allclose(found.b_low, 0)
    assert lines(RELU, np.array([-3.0]), np.array([9.0]), 0.0).a_low == 0
    assert lines(RELU, np.array([-9.0]), np.array([3.0]), 1.0).a_low == 1


def test_undecided_means_a_knot_strictly_inside() -> None:
    low, high = np.array([[-1.0, 0.0, 1.0, 5.0]]), np.array([[1.0, 1.0, 2.0, 7.0]])
    assert undecided(RELU, low, high).tolist() == [[True, False, False, False]]
    assert undecided(RELU6, low, high).tolist() == [[True, False, False, True]]


def test_which_functions_are_read() -> None:
    assert is_piecewise_linear(RELU6)
    assert not is_piecewise_linear(STEP)
    assert not is_piecewise_linear(Activation((-3.0, 3.0), ((0.0, 0.0), None, (1.0, 0.0))))
    assert not is_piecewise_linear(Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)), asymptotic=frozenset({0})))


def test_which_functions_round() -> None:
    assert not is_rounded(RELU6)
    assert is_rounded(FUNCTIONS["leaky"])
    assert is_rounded(FUNCTIONS["prelu"])
    assert is_rounded(Activation((), ((1.0, 0.1),)))
