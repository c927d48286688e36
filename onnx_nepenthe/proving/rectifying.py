"""Rectifiers and saturating functions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from onnx_nepenthe.proving.bounds import Bounds, FloatArray, interval, product, top
from onnx_nepenthe.proving.pointwise import FULL, KERNEL_ERROR, error_function, pointwise
from onnx_nepenthe.proving.transfer import TRANSFERS, Call, aligned


@TRANSFERS.register("Relu")
def relu(call: Call) -> Bounds:
    """max(x, 0)."""
    return pointwise(call, lambda x: np.maximum(x, 0), exact=True)


@TRANSFERS.register("LeakyRelu")
def leaky_relu(call: Call) -> Bounds:
    """Any slope below zero, even a negative one."""
    alpha = call.number("alpha", 0.01)
    return pointwise(call, lambda x: np.where(x < 0, alpha * x, x), turning=(0.0,), exact=True)


@TRANSFERS.register("ThresholdedRelu")
def thresholded_relu(call: Call) -> Bounds:
    """Jumps from 0 to x just above alpha."""
    alpha = call.number("alpha", 1.0)
    jump = (alpha, float(np.nextafter(alpha, np.inf)))
    return pointwise(call, lambda x: np.where(x > alpha, x, 0.0), turning=jump, exact=True)


@TRANSFERS.register("PRelu")
def prelu(call: Call) -> Bounds:
    """max(x, 0) + slope * min(x, 0), the slope broadcast and perhaps not constant."""
    (x, slope), axis = aligned(call, (0, 1))
    low, high, _ = product(Bounds(np.minimum(x.low, 0), np.minimum(x.high, 0)), slope)
    low, high = np.maximum(x.low, 0) + low, np.maximum(x.high, 0) + high
    zero_times_inf = bool(np.any(np.isneginf(x.low)) or not slope.is_finite)
    return interval(low, high, axis, x.may_be_nan or slope.may_be_nan or zero_times_inf)


@TRANSFERS.register("Clip")
def clip(call: Call) -> Bounds:
    """min(max(x, min), max): what ONNX asks for when min > max, too."""
    x = call.bounds()
    low, high, nan = x.low, x.high, x.may_be_nan
    for index, name, pick in ((1, "min", np.maximum), (2, "max", np.minimum)):
        if name in call.view.attributes:
            low, high = pick(low, call.number(name, 0.0)), pick(high, call.number(name, 0.0))
        elif call.view.has_input(index):
            end = call.bounds(index).hull()
            low, high, nan = pick(low, end.low), pick(high, end.high), nan or end.may_be_nan
    return interval(low, high, x.axis, nan)


@TRANSFERS.register("Elu")
def elu(call: Call) -> Bounds:
    """alpha (exp(x) - 1) below zero."""
    return _exponential(call, call.number("alpha", 1.0), 1.0)


@TRANSFERS.register("Selu")
def selu(call: Call) -> Bounds:
    """gamma times Elu."""
    return _exponential(call, call.number("alpha", 1.67326319), call.number("gamma", 1.05070102))


@TRANSFERS.register("Celu")
def celu(call: Call) -> Bounds:
    """alpha (exp(x / alpha) - 1) below zero."""
    alpha = call.number("alpha", 1.0)
    if alpha <= 0:
        return top()
    return pointwise(call, lambda x: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha))


def _exponential(call: Call, alpha: float, gamma: float) -> Bounds:
    return pointwise(call, lambda x: gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x), turning=(0.0,))


@TRANSFERS.register("Softplus")
def softplus(call: Call) -> Bounds:
    """log(1 + exp(x)), never negative."""
    return pointwise(call, lambda x: np.logaddexp(x, 0.0), limits=(0.0, np.inf))


@TRANSFERS.register("Sigmoid")
def sigmoid(call: Call) -> Bounds:
    """Saturates: both 0 and 1 are reached."""
    return pointwise(call, _sigmoid, limits=(0.0, FULL))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


@TRANSFERS.register("Tanh")
def tanh(call: Call) -> Bounds:
    """Saturates at -1 and 1."""
    return pointwise(call, np.tanh, limits=(-FULL, FULL))


@TRANSFERS.register("HardSigmoid")
def hard_sigmoid(call: Call) -> Bounds:
    """alpha x + beta between 0 and 1."""
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    return pointwise(call, lambda x: np.clip(alpha * x + beta, 0, 1), limits=(0.0, 1.0))


@TRANSFERS.register("HardSwish")
def hard_swish(call: Call) -> Bounds:
    """x clip(x/6 + 1/2, 0, 1); smallest, -3/8, at -3/2."""
    return pointwise(call, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), turning=(-1.5,))


@TRANSFERS.register("Gelu")
def gelu(call: Call) -> Bounds:
    """Exact or tanh-approximated; their minima lie at -0.7518 and -0.7525.

    A kernel whose tanh falls below -1 in the last place returns small positive numbers for negative x.
    """
    if call.view.attributes.get("approximate", "none") == "tanh":
        found = pointwise(call, _gelu_tanh, turning=(-0.7524614,))
    else:
        found = pointwise(call, _gelu_erf, turning=(-0.7517916,))
    above = np.where(call.bounds().low < 0, KERNEL_ERROR, -np.inf)
    return replace(found, high=np.maximum(found.high, above))


def _gelu_erf(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * x * (1 + error_function(x / math.sqrt(2))))


def _gelu_tanh(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


@TRANSFERS.register("Mish")
def mish(call: Call) -> Bounds:
    """x tanh(softplus(x)); smallest at -1.1924."""
    return pointwise(call, lambda x: x * np.tanh(np.logaddexp(x, 0.0)), turning=(-1.1924429,))
