"""The page of a collapse: sound, escaped, readable without eyes, and true to its record."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.report.html import headline, page_from
from onnx_nepenthe.report.json import plain, record_of_outcome
from tests.helpers import outcomes
from tests.helpers.page import Page, assert_sound


def record(found: Outcome) -> Any:
    return plain(record_of_outcome(found, output="out.onnx", command="onnx-nepenthe collapse 'a b.onnx'"))


def make(**given: Any) -> Page:
    return Page(page_from(record(outcomes.outcome(**given))))


def exact(**changes: Any) -> Any:
    return record(dataclasses.replace(outcomes.outcome(), **changes))


@pytest.mark.parametrize("given", [{}, {"collapsed": False}, {"count": 30}])
def test_the_page_is_sound(given: dict[str, Any]) -> None:
    assert_sound(make(**given))


def test_what_comes_from_the_model_is_escaped() -> None:
    page = make()
    assert "&lt;script&gt;alert(" in page.source
    assert "\x1b" not in page.source
    assert "<script>alert('x')</script>&" in page.text
    assert page.data["layers"][2]["name"] == outcomes.HOSTILE.replace("\x1b", "\ufffd").replace("\n", "\ufffd")
    assert "a <fast> one" in page.text


def test_every_chart_has_the_same_as_text() -> None:
    page = make()
    charts = [str(a["data-chart"]) for a in page.all("div") if "data-chart" in a]
    assert charts == ["times", "ratios", "entropy", "shares", "channels"]
    summaries = {"The distributions as a table", "All 4 rectifiers as a table", "What was replaced, as a table"}
    assert all(words in page.text for words in summaries)
    for words in ("OFF 25 %, ON 75 %", "OFF <1 %, ON <1 %, curved >99 %", "4: 3 ON, 1 OFF", "N×16×14×14", "1.50 ms"):
        assert words in page.text


def test_the_page_says_what_the_record_says() -> None:
    page = make()
    for words in (
        "1.50× faster, same accuracy",
        "models/made-up.onnx → out.onnx",
        "6 → 5 layers deep",
        "49.4 kB → 40.0 kB",
        "97.50 % right, 97.50 % before",
        "verified on 60 samples",
        "A/A control : the input against itself, in the same run, came to 0.995 to 1.004",
        "onnx-nepenthe collapse 'a b.onnx'",
        "3 operators → Conv 3x3 8→16",
        "from layer1/conv, 1.75× by itself",
        "--latency off takes it",
        "seen 300 times per channel",
    ):
        assert words in page.text, words
    assert page.data["latency"]["each_ms"][0] == list(outcomes.comparison().each_ms[0])


def test_refusals_can_be_filtered_by_what_would_help() -> None:
    page = make()
    items = [a for a in page.all("li") if a.get("class") == "refusal"]
    assert [a["data-remedies"] for a in items] == [
        "pruning or fine-tuning",
        "nothing known",
        "another device, or --latency off",
    ]
    assert "→ --latency off takes it" in page.text


def test_a_page_without_a_result_says_so() -> None:
    page = make(collapsed=False)
    assert "Nothing could be collapsed" in page.text
    assert "there is nothing new to time" in page.text
    assert "nothing to verify" in page.text
    assert not {"times", "ratios"} & {a.get("data-chart") for a in page.all("div")}
    assert "rewrites" not in {a.get("id") for a in page.all("h2")}


def test_without_data_there_is_no_chart_and_the_page_says_why() -> None:
    found = outcomes.inspection()
    bare = dataclasses.replace(found, rows=tuple(dataclasses.replace(r, counts=None) for r in found.rows), samples=0)
    page = Page(page_from(exact(inspection=bare)))
    assert_sound(page)
    assert page.data["layers"] == []
    assert "Nothing was measured: --data shows" in page.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "1.50× faster, same accuracy"),
        (
            {"latency": outcomes.comparison(1.0)},
            "5 layers deep instead of 6, same accuracy, no clear difference in speed",
        ),
        ({"latency": None}, "5 layers deep instead of 6, same accuracy, speed not measured"),
        ({"latency": None, "after": outcomes.inspection().side}, "20 operators instead of 20, same accuracy, speed"),
        ({"verdict": dataclasses.replace(outcomes.verdict(), top1_before=None)}, "1.50× faster, same outputs"),
        ({"verdict": dataclasses.replace(outcomes.verdict(), top1_after=0.96)}, "1.50× faster, accuracy -1.50 points"),
        ({"price": outcomes.price(), "verdict": None}, "1.50× faster, for 0.60 points of top1"),
    ],
)
def test_the_headline_is_the_result_in_a_few_words(changes: dict[str, Any], words: str) -> None:
    assert headline(exact(**changes)).startswith(words)


def test_dark_mode_and_small_screens_are_provided_for() -> None:
    page = make()
    assert "prefers-color-scheme: dark" in page.source
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
