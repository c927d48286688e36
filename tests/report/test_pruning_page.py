"""The page of a pruning: sound, escaped, with every chart as a table too."""

from __future__ import annotations

from typing import Any

import pytest

from onnx_nepenthe.report.pruning_page import page_of_pruning
from tests.helpers.made_pruning import pruning
from tests.helpers.page import Page, assert_sound


def make(**changes: Any) -> Page:
    return Page(page_of_pruning(pruning(**changes)))


def charts(page: Page) -> list[str]:
    return [str(a["data-chart"]) for a in page.all("div") if "data-chart" in a]


@pytest.mark.parametrize(
    "changes",
    [{}, {"collapse": None, "collapsed_test": None}, {"robustness": None}, {"test": None, "dense_test": None}],
)
def test_the_page_is_sound(changes: dict[str, Any]) -> None:
    assert_sound(make(**changes))


def test_the_page_says_what_the_record_says() -> None:
    page = make()
    for words in (
        "1 of 2 rectifiers linear, accuracy 97.00 % → 96.00 %",
        "96.00 % right on test data, 97.00 % dense",
        "6 epochs of training in all, 10 s",
        "6 → 5 layers deep after collapsing",
        "Collapsed: 1.50× faster, same accuracy",
        "It stopped because accuracy fell below it",
        "stays above 90.00 %",
        "1 95.00 % yes 1 0 50.00 % 0.200 2 3",
        "polish 85.00 % no 1 1 100.00 % 0.300 2 3",
        "block.relu Relu 8 0.9000 0.0000 0.0000 linear",
        "noise 0.5 100 90.00 % 91.00 %",
        "1 note of the method",
        "onnx-nepenthe prune mlp --data d.npz",
        "<script>alert('x')</script>&",
    ):
        assert words in page.text, words
    assert "\x1b" not in page.source
    assert charts(page)[:4] == ["accuracy", "pq", "rounds", "robustness"]


def test_scripts_draw_what_the_record_holds() -> None:
    data = make().data
    assert [r["kept"] for r in data["rounds"]] == [True, True, False]
    assert data["sites"][0]["bits"] == [0.9, 0.0, 0.0]
    assert data["sites"][1]["states"] == ["", "", "H = 0"]
    assert data["robustness"][1] == {"what": "noise 0.5", "accuracy": {"dense": 0.9, "pruned": 0.91}}
    assert data["robustness"][0]["what"] == "clean"
    assert len(data["layers"]) == 4


def test_without_test_data_accuracy_is_that_of_validation() -> None:
    page = make(test=None, dense_test=None)
    assert "accuracy 98.00 % → 95.00 %" in page.text
    assert "right on validation data" in page.text


def test_what_was_not_asked_for_is_not_there() -> None:
    page = make(collapse=None, collapsed_test=None, robustness=None)
    assert charts(page) == ["accuracy", "pq", "rounds"]
    assert {a.get("id") for a in page.all("h2")} == {"rounds", "sites", "how"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "1.50× faster after collapsing"),
        ({"faster": False, "low": 0.9, "high": 1.8}, "no clear difference after collapsing (0.90 to 1.80)"),
        ({"faster": False, "speedup": 0.8, "low": 0.7, "high": 0.9}, "0.80× as fast (slower) after collapsing"),
    ],
)
def test_the_card_of_the_collapse_claims_no_more_than_the_control_allows(changes: dict[str, Any], words: str) -> None:
    made = pruning()["collapse"]
    assert words in make(collapse=made | {"latency": made["latency"] | changes}).text
