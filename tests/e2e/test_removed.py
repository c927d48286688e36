"""Rectifiers that do nothing, by proof: gone without any data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.helpers.build import Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import Ranges, collapse_exact

Make = Callable[[Builder], str]
SIZES = {"N": 2, "H": 6, "W": 5}
STATIC, DYNAMIC = [2, 4, 6, 5], ["N", 4, "H", "W"]


def clip(g: Builder, x: str, low: float, high: float) -> str:
    return g.node("Clip", x, g.constant(low), g.constant(high))


def prelu(g: Builder, x: str, *slope: float) -> str:
    return g.node("PRelu", x, g.constant(np.reshape(np.array(slope, np.float32), (-1, 1, 1))))


def relus(g: Builder) -> str:
    return g.node("Add", g.node("Relu", "x"), g.node("Relu", g.node("Neg", "x")))


REMOVED: dict[str, tuple[Make, dict[str, int]]] = {
    "Relu, Relu": (lambda g: g.node("Relu", g.node("Relu", "x")), {"Relu": 1}),
    "Sigmoid, Relu": (lambda g: g.node("Relu", g.node("Sigmoid", "x")), {"Sigmoid": 1}),
    "Softmax, Relu": (lambda g: g.node("Relu", g.node("Softmax", "x", axis=1)), {"Softmax": 1}),
    "Abs, Relu": (lambda g: g.node("Relu", g.node("Abs", "x")), {"Abs": 1}),
    "Relu, Abs": (lambda g: g.node("Abs", g.node("Relu", "x")), {"Relu": 1}),
    "Relu, MaxPool, Relu": (
        lambda g: g.node("Relu", g.node("MaxPool", g.node("Relu", "x"), kernel_shape=[2, 2])),
        {"Relu": 1, "MaxPool": 1},
    ),
    "Relu + Relu, Relu": (lambda g: g.node("Relu", relus(g)), {"Relu": 2, "Neg": 1, "Add": 1}),
    "Relu of Relus side by side": (
        lambda g: g.node("Relu", g.node("Concat", g.node("Relu", "x"), g.node("Sigmoid", "x"), axis=1)),
        {"Relu": 1, "Sigmoid": 1, "Concat": 1},
    ),
    "Clip(0, 6), Relu": (lambda g: g.node("Relu", clip(g, "x", 0.0, 6.0)), {"Clip": 1}),
    "Sigmoid, Clip(0, 6)": (lambda g: clip(g, g.node("Sigmoid", "x"), 0.0, 6.0), {"Sigmoid": 1}),
    "Clip(0, 6) twice": (lambda g: clip(g, clip(g, "x", 0.0, 6.0), 0.0, 6.0), {"Clip": 1}),
    "LeakyRelu of slope 1": (
        lambda g: g.node("LeakyRelu", g.node("Sigmoid", "x"), alpha=1.0),
        {"Sigmoid": 1},
    ),
    "LeakyRelu of slope 1 anywhere": (
        lambda g: g.node("Sigmoid", g.node("LeakyRelu", "x", alpha=1.0)),
        {"Sigmoid": 1},
    ),
    "PRelu of slope 1": (lambda g: g.node("Sigmoid", prelu(g, "x", 1)), {"Sigmoid": 1}),
    "PRelu of slopes 1": (lambda g: g.node("Sigmoid", prelu(g, "x", 1, 1, 1, 1)), {"Sigmoid": 1}),
    "Relu in front of a convolution": (
        lambda g: g.conv(g.node("Relu", g.node("Sigmoid", "x")), (4, 3), (3, 3), pads=1),
        {"Sigmoid": 1, "Conv": 1},
    ),
    "Relu of a constant": (
        lambda g: g.node("Mul", g.node("Relu", g.constant(g.random(4, 1, 1))), g.node("Sigmoid", "x")),
        {"Sigmoid": 1, "Mul": 1},
    ),
}


def check(make: Make, dims: list[int | str], wanted: dict[str, int], ranges: Ranges | None = None) -> None:
    g = Builder(np.random.default_rng(3))
    before = g.model({"x": dims}, [make(g)])
    after = collapse_exact(before, ranges=ranges)
    assert operators(after) == wanted
    low, high = (ranges or {}).get("x", (-3.0, 3.0))
    feeds = {name: np.clip(x, low, high) for name, x in feeds_for(before, np.random.default_rng(4), SIZES).items()}
    assert_same(after, before, feeds, 1e-6)


@pytest.mark.parametrize("dims", [STATIC, DYNAMIC], ids=["known", "any"])
@pytest.mark.parametrize("name", REMOVED)
def test_removed(name: str, dims: list[int | str]) -> None:
    check(REMOVED[name][0], dims, REMOVED[name][1])


@pytest.mark.parametrize("dims", [STATIC, DYNAMIC], ids=["known", "any"])
def test_removed_for_the_declared_inputs(dims: list[int | str]) -> None:
    check(lambda g: g.node("Sigmoid", g.node("Relu", "x")), dims, {"Sigmoid": 1}, {"x": (0.0, 1.0)})
    check(lambda g: g.node("Sigmoid", g.node("Relu", "x")), dims, {"Relu": 1, "Sigmoid": 1}, {"x": (-0.1, 1.0)})


def test_always_off_leaves_a_constant() -> None:
    make: Make = lambda g: g.node("Add", "x", g.node("Relu", g.node("Neg", g.node("Abs", "x"))))  # noqa: E731
    check(make, STATIC, {"Identity": 1}, {"x": (-3.0, 3.0)})


NEEDED: dict[str, Make] = {
    "Relu": lambda g: g.node("Relu", "x"),
    "Relu behind a convolution": lambda g: g.node("Relu", g.conv(g.node("Relu", "x"), (4, 3), (1, 1))),
    "Clip(0, 6) behind Relu": lambda g: clip(g, g.node("Relu", "x"), 0.0, 6.0),
    "LeakyRelu": lambda g: g.node("LeakyRelu", "x", alpha=0.5),
    "PRelu with one other slope": lambda g: prelu(g, "x", 1, 1, 0.5, 1),
    "Relu behind Tanh": lambda g: g.node("Relu", g.node("Tanh", "x")),
}


@pytest.mark.parametrize("name", NEEDED)
def test_kept(name: str) -> None:
    g = Builder(np.random.default_rng(3))
    before = g.model({"x": DYNAMIC}, [NEEDED[name](g)])
    assert operators(collapse_exact(before)) == operators(before)
