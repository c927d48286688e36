"""The page of a Pareto front: sound, escaped, every point in the chart and in the table."""

from __future__ import annotations

from dataclasses import replace

from onnx_nepenthe.frontier import Frontier, front_of
from onnx_nepenthe.report.front import record_of_frontier
from onnx_nepenthe.report.front_page import page_of_front
from tests.helpers.made_front import front, point
from tests.helpers.outcomes import HOSTILE
from tests.helpers.page import Page, assert_sound


def make(found: Frontier) -> Page:
    return Page(page_of_front(record_of_frontier(found, command="as typed")))


def test_the_page_is_sound_whatever_the_model_is_called() -> None:
    page = make(front(HOSTILE))
    assert_sound(page)
    assert "<script>alert('x')</script>&" in page.text
    assert "\x1b" not in page.source


def test_every_model_is_in_the_chart_and_in_the_table() -> None:
    page = make(front())
    assert [p["file"] for p in page.data["front"]["points"]] == [p.file for p in front().points]
    assert page.data["front"]["points"][2]["worst"] == 97.5 - 4.4
    for words in (
        "3 models to pick from, up to 2.40× as fast for 3.90 points",
        "02-drop3.9.onnx 3.90 (3.40 to 4.40) 2.40× (2.38 to 2.42)",
        "No model of its own for 1, 2 points: why.",
        "as typed",
    ):
        assert words in page.text, words


def test_a_front_of_one_costs_nothing() -> None:
    only = point(0.0, 1.1, None)
    page = make(front_of(replace(only, price=replace(only.price, drop=0.0)), []))
    assert "1 model to pick from, up to 1.10× as fast without loss" in page.text
