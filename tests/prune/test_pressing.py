"""Which sites are pressed, and to where."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.pressing import goal, lowest, skeleton
from onnx_nepenthe.prune.records import Layer, Site, SiteStatistics
from onnx_nepenthe.prune.tuning import Distillation, Pressure
from onnx_nepenthe.regimes import RegimeCounts

RELU = Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))
RELU6 = Activation(knots=(0.0, 6.0), lines=((0.0, 0.0), (1.0, 0.0), (0.0, 6.0)))
LEAKY = Activation(knots=(0.0,), lines=((0.25, 0.0), (1.0, 0.0)))
GELU = Activation(knots=(-5.3, 5.3), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))


def statistics(*rows: list[int], signs: bool = False) -> SiteStatistics:
    """Counts, one row a regime, one column a channel."""
    counts = np.array(rows, np.int64)
    ties = np.zeros((len(rows) - 1, counts.shape[1]), np.int64)
    found = RegimeCounts(counts, ties, *np.zeros((2, counts.shape[1])))
    regimes = RegimeCounts.empty(3, counts.shape[1]) if signs else found
    return SiteStatistics(regimes, signs=found if signs else None)


def layer(name: str, *rows: list[int], is_linear: bool = False) -> Layer:
    channels = len(rows[0])
    site = Site(name, name, "Relu", RELU, axis=1, channels=channels, feeder=name)
    weight = np.ones((channels, 2))
    return Layer(site, weight, weight > 0, statistics(*rows), is_linear=is_linear)


def test_a_channel_goes_on_unless_it_is_off_nearly_always() -> None:
    found = goal(RELU, statistics([10, 80, 90], [90, 20, 10]), off_share=0.85)
    assert found.low.tolist() == [0, 0, -np.inf]
    assert found.high.tolist() == [np.inf, np.inf, 0]


def test_a_bounded_rectifier_prefers_its_middle() -> None:
    found = goal(RELU6, statistics([45, 0, 5], [10, 30, 5], [45, 70, 90]), off_share=0.85)
    assert found.low.tolist() == [0, 0, 6]
    assert found.high.tolist() == [6, 6, np.inf]


def test_where_every_piece_has_a_slope_the_most_frequent_wins() -> None:
    assert goal(LEAKY, statistics([60], [40]), off_share=0.85).high.tolist() == [0]


def test_curved_activations_are_driven_to_one_side_of_zero() -> None:
    found = goal(GELU, statistics([90, 50], [10, 50], signs=True), off_share=0.85)
    assert found.low.tolist() == [-np.inf, 0]


def test_slopes_and_knots_may_differ_from_channel_to_channel() -> None:
    prelu = Activation(knots=(0.0,), lines=((np.array([0.25, -2.0]), 0.0), (1.0, 0.0)), axis=1)
    bones = skeleton(prelu, 2)
    assert bones.knots.tolist() == [[0, 0]]
    assert bones.worth.tolist() == [[0.25, 1.0], [1.0, 0.5]]


def test_a_line_has_no_knots() -> None:
    bones = skeleton(Activation(knots=(), lines=((0.0, 3.0),)), 2)
    assert bones.knots.shape == (0, 2)
    assert bones.worth.tolist() == [[0, 0]]


def test_the_lowest_are_those_of_lowest_entropy_that_are_no_lines_yet() -> None:
    layers = [
        layer("high", [50], [50]),
        layer("line", [1], [99], is_linear=True),
        layer("low", [1], [99]),
        layer("middle", [20], [80]),
    ]
    assert lowest(layers, 2) == ("low", "middle")
    assert lowest(layers, 9) == ("low", "middle", "high")


def test_the_average_decides_which_is_lowest() -> None:
    layers = [layer("mixed", [50, 0, 0, 0], [50, 100, 100, 100]), layer("even", [20] * 4, [80] * 4)]
    assert lowest(layers, 1, average="non-degenerate") == ("even",)
    assert lowest(layers, 1, average="all") == ("mixed",)


@pytest.mark.parametrize(
    "options", [{"off_share": 1.0}, {"clamp": 0.5}, {"weight": 0.0}, {"margin": -1.0}, {"distance": -0.1}]
)
def test_a_pressure_that_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="pressure: "):
        Pressure(**options)  # type: ignore[arg-type]


def test_a_distillation_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="distillation: "):
        Distillation(temperature=0)
