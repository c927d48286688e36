"""What the exact collapse gains more, or less, with a substitute; prices are multiply-adds, so nothing is timed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest

from onnx_nepenthe import composing
from onnx_nepenthe.composing import Sequels
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.latency import OperatorTable
from onnx_nepenthe.prices import MultiplyAdds
from tests.helpers.build import Builder
from tests.helpers.shops import shop_of, substitute

SIZE = 6


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def costs(model: Model, view: GraphView, table: OperatorTable, dims: Mapping[str, int]) -> MultiplyAdds:
        return MultiplyAdds(dims)

    monkeypatch.setattr(composing, "MeasuredCosts", costs)


def network(first: int, second: int) -> onnx.ModelProto:
    """Convolution, Relu, convolution, Relu (values a, b, c, d), then one that is exact to merge with another."""
    b = Builder(np.random.default_rng(0))
    a = b.conv("x", (3, 8), (first, first), pads=first // 2, out="a")
    wide = 8 if second == 1 else 128
    c = b.conv(b.node("Relu", a, out="b"), (8, wide), (second, second), pads=second // 2, out="c")
    d = b.node("Relu", c, out="d")
    merged = b.conv(b.conv(d, (wide, 32), (1, 1), out="e"), (32, 8), (1, 1), out="f")
    y = b.node("Relu", merged, out="g")
    return b.model({"x": ("N", 3, SIZE, SIZE)}, [y])


def gain(first: int, second: int, source: str, target: str, kind: str, latency: str = "measured") -> float:
    shop = shop_of(network(first, second), latency=latency)
    return Sequels(shop).gain_ms(substitute(shop, source, target, kind))


def test_a_line_lets_its_neighbours_become_one() -> None:
    assert gain(1, 1, "a", "b", "line") > 0


def test_a_line_between_what_is_dearer_as_one_gains_nothing() -> None:
    assert gain(3, 3, "a", "b", "line") == 0


def test_a_line_without_affine_neighbours_gains_nothing() -> None:
    assert gain(1, 1, "f", "g", "line") == 0


def test_nothing_is_said_where_latency_is_not_measured() -> None:
    assert gain(1, 1, "a", "b", "line", "off") == 0


@pytest.mark.parametrize(
    ("source", "target", "is_lost"),
    [("x", "c", False), ("b", "g", True)],
    ids=["beside what is merged anyway", "in place of it"],
)
def test_what_the_exact_collapse_saves_anyway_is_not_saved_twice(source: str, target: str, is_lost: bool) -> None:
    found = gain(1, 1, source, target, "conv1")
    assert found < 0 if is_lost else found == 0
