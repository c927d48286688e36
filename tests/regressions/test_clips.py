"""Clips that contradict themselves or each other."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.helpers.build import Builder
from tests.helpers.compare import assert_same, operators
from tests.helpers.exact import collapse_exact
from tests.helpers.unharmed import builder

RANGE = {"x": (-10.0, 10.0)}
VALUES = np.array([-10, -6, -3, -1, -0.5, -0.0, 0, 0.25, 0.5, 1, 2, 3, 5.5, 6, 6.5, 10], np.float32).reshape(1, 16)


def clip(g: Builder, x: str, low: float | None, high: float | None) -> str:
    return g.node("Clip", x, *("" if end is None else g.constant(end) for end in (low, high)))


def check(before: onnx.ModelProto, with_range: dict[str, int]) -> None:
    """Unharmed without and with a declared range; and what is left with one."""
    for ranges in (None, RANGE):
        after = collapse_exact(before, ranges=ranges)
        assert_same(after, before, {"x": VALUES}, 0.0)
    assert operators(after) == with_range


CONSTANT: dict[str, int] = {"Identity": 1}


@pytest.mark.parametrize("opset", [11, 12, 13, 17])
@pytest.mark.parametrize(("low", "high"), [(0.5, 0.25), (6.0, 0.0), (1.0, -1.0)])
def test_low_above_high_is_high(low: float, high: float, opset: int) -> None:
    g = builder(opset)
    check(g.model({"x": [1, 16]}, [clip(g, "x", low, high)]), CONSTANT)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.0, 0.0)])
def test_low_equal_to_high(low: float, high: float) -> None:
    g = builder()
    check(g.model({"x": [1, 16]}, [clip(g, "x", low, high)]), CONSTANT)


@pytest.mark.parametrize(("first", "second"), [((-3.0, -1.0), (0.0, 6.0)), ((2.0, 3.0), (0.0, 1.0))], ids=str)
def test_disjoint_clips_are_the_nearer_end_of_the_second(
    first: tuple[float, float], second: tuple[float, float]
) -> None:
    g = builder()
    check(g.model({"x": [1, 16]}, [clip(g, clip(g, "x", *first), *second)]), CONSTANT)


def test_overlapping_clips_keep_both_ends() -> None:
    g = builder()
    check(g.model({"x": [1, 16]}, [clip(g, clip(g, "x", -1.0, 3.0), 0.5, 6.0)]), {"Clip": 2})


@pytest.mark.parametrize("low", [None, -3.0])
def test_relu_of_a_clip_below_zero_is_zero(low: float | None) -> None:
    g = builder()
    check(g.model({"x": [1, 16]}, [g.node("Relu", clip(g, "x", low, -1.0))]), CONSTANT)


@pytest.mark.parametrize("low", [None, -3.0])
def test_a_clip_below_zero_of_relu_is_its_end(low: float | None) -> None:
    g = builder()
    check(g.model({"x": [1, 16]}, [clip(g, g.node("Relu", "x"), low, -1.0)]), CONSTANT)


@pytest.mark.parametrize("high", [0.0, 0.5])
def test_a_clip_with_one_end(high: float) -> None:
    g = builder()
    wanted = {"Clip": 1, "Relu": 1} if high else CONSTANT
    check(g.model({"x": [1, 16]}, [g.node("Relu", clip(g, "x", None, high))]), wanted)


def test_bounds_as_attributes() -> None:
    g = builder(opset=6 + 1)
    y = g.node("Relu", g.node("Clip", "x", min=0.0, max=6.0))
    check(g.model({"x": [1, 16]}, [y]), {"Clip": 1})


def test_a_clip_that_cuts_nothing_of_the_declared_range() -> None:
    g = builder()
    y = g.node("Sigmoid", clip(g, "x", -10.0, 10.0))
    check(g.model({"x": [1, 16]}, [y]), {"Sigmoid": 1})
