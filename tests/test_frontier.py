"""What belongs to a front."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnx_nepenthe.frontier import BEATEN, Point, front_of
from onnx_nepenthe.graph.stats import ModelSize
from onnx_nepenthe.outcome import Side
from tests.helpers.outcomes import comparison, outcome, price


def point(drop: float, speedup: float, allowed: float | None, *, size: int = 1000, depth: int = 5) -> Point:
    after = Side(ModelSize(10, size // 4, size, depth, 1000, 0), 3)
    cost = replace(price(), drop=drop, low=drop - 0.5, high=drop + 0.5)
    return Point(replace(outcome(), after=after, price=cost), cost, comparison(speedup), allowed)


def files(*others: Point) -> list[str]:
    return [one.file for one in front_of(point(0.0, 1.1, None), others).points]


def test_names_say_what_is_lost() -> None:
    assert files(point(1.25, 1.6, 2.0), point(0.4, 1.3, 0.5)) == [
        "00-exact.onnx",
        "01-drop0.4.onnx",
        "02-drop1.25.onnx",
    ]
    assert files(point(1.0, 1.6, 4.0), point(1.5, 1.9, 2.0)) == ["00-exact.onnx", "01-drop1.onnx", "02-drop1.5.onnx"]
    assert files(point(-0.004, 1.6, 0.0)) == ["00-exact.onnx", "01-drop0.onnx"]
    assert files(point(-0.3, 1.6, 0.0)) == ["00-exact.onnx", "01-drop-0.3.onnx"]


def test_what_another_beats_in_every_respect_is_left_out() -> None:
    front = front_of(point(0.0, 1.1, None), [point(1.0, 1.5, 1.0), point(2.0, 1.4, 2.0)])
    assert [one.allowed for one in front.points] == [None, 1.0]
    assert [(one.allowed, one.reason) for one in front.missing] == [(2.0, BEATEN)]


def test_speeds_whose_intervals_meet_are_equal() -> None:
    assert files(point(1.0, 1.50, 1.0), point(2.0, 1.52, 2.0)) == ["00-exact.onnx", "01-drop1.onnx"]
    assert len(files(point(1.0, 1.50, 1.0), point(2.0, 1.56, 2.0))) == 3


def test_of_a_row_of_meeting_intervals_the_ends_are_kept() -> None:
    row = [point(1.0, 1.50, 1.0), point(2.0, 1.53, 2.0), point(3.0, 1.56, 3.0)]
    assert files(*row) == ["00-exact.onnx", "01-drop1.onnx", "02-drop3.onnx"]


@pytest.mark.parametrize("better", [{"size": 900}, {"depth": 4}])
def test_better_in_one_respect_is_enough(better: dict[str, int]) -> None:
    assert len(files(point(1.0, 1.5, 1.0), point(2.0, 1.4, 2.0, **better))) == 3


def test_the_exact_model_stays_whatever_luck_others_have() -> None:
    assert files(point(-1.0, 2.0, 0.0, size=10, depth=1)) == ["00-exact.onnx", "01-drop-1.onnx"]


def test_of_equals_one_is_kept() -> None:
    assert len(files(point(1.0, 1.5, 1.0), point(1.0, 1.5, 2.0))) == 2
