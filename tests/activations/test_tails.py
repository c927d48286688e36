"""The knots of smooth rectifiers: |f(z) - line(z)| <= 2^-24 max(1, |z|) beyond them, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from onnx_nepenthe.activations.tails import GELU, GELU_TANH, LOGISTIC, MISH, TAIL


def softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def gelu(z: float) -> float:
    return 0.5 * z * math.erfc(-z / math.sqrt(2))


def gelu_tanh(z: float) -> float:
    return 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def silu(z: float) -> float:
    return z / (1 + math.exp(-z))


def mish(z: float) -> float:
    return z * math.tanh(softplus(z))


CASES = [(gelu, -GELU, GELU), (gelu_tanh, -GELU_TANH, GELU_TANH), (silu, -LOGISTIC, LOGISTIC)]
CASES += [(softplus, -LOGISTIC, LOGISTIC), (mish, -LOGISTIC, MISH)]


@pytest.mark.parametrize(("function", "off", "on"), CASES)
def test_bound_holds_beyond_the_knots(function: Callable[[float], float], off: float, on: float) -> None:
    for z in np.concatenate([off - np.geomspace(1e-9, 100, 500), on + np.geomspace(1e-9, 100, 500)]):
        line = z if z > 0 else 0.0
        assert abs(function(float(z)) - line) <= TAIL * max(1.0, abs(z)), z


@pytest.mark.parametrize(("function", "off", "on"), CASES)
def test_knots_are_not_further_out_than_needed(function: Callable[[float], float], off: float, on: float) -> None:
    inner = 0.99 * on
    assert abs(function(inner) - inner) > TAIL
    assert abs(function(0.7 * off)) > TAIL
