"""The page: well formed, self-contained, escaped, readable without eyes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from onnx_nepenthe.report.html import bar, page_from
from onnx_nepenthe.report.json import record_of_outcome
from tests.helpers import outcomes

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Tags with their attributes, text, and what is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def make(**given: object) -> tuple[str, Page]:
    record = record_of_outcome(
        outcomes.outcome(**given), output="out.onnx", command="onnx-nepenthe collapse 'a b.onnx'"
    )
    text = page_from(record)
    return text, Page(text)


@pytest.mark.parametrize("collapsed", [True, False])
def test_the_page_is_well_formed(collapsed: bool) -> None:
    text, page = make(collapsed=collapsed)
    assert page.faults == []
    assert text.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1


def test_the_page_needs_nothing_else() -> None:
    text, page = make()
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "href", "srcset", "onclick", "onload"}
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", text)


def test_what_comes_from_the_model_is_escaped() -> None:
    text, page = make()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(" in text
    assert "\x1b" not in text
    assert "<script>alert('x')</script>&" in page.text
    assert "a <fast> one" in page.text


def test_every_table_has_a_caption_and_scopes() -> None:
    _, page = make()
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables) == 5
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    regions = [a for a in page.all("div") if a.get("role") == "region"]
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {region["aria-labelledby"] for region in regions} <= ids


def test_every_rectifier_has_a_bar_with_its_shares_in_words() -> None:
    _, page = make()
    bars = [a for a in page.all("svg") if a.get("role") == "img"]
    assert [b["aria-label"] for b in bars] == [
        "OFF 25 %, ON 75 %",
        "OFF 0 %, ON 100 %",
        "OFF 38 %, ON 62 %",
        "OFF <1 %, ON <1 %, curved >99 %",
    ]


def test_bars_are_as_long_as_their_shares() -> None:
    rows = record_of_outcome(outcomes.outcome())["rectifier_rows"]
    assert bar(rows[0])["segments"] == [("OFF", 0.0, 25.0), ("ON", 25.0, 75.0)]
    for row in rows:
        segments = bar(row)["segments"]
        assert sum(width for _, _, width in segments) == pytest.approx(100.0, abs=0.01)
    assert bar({"shares": None}) == {"row": {"shares": None}, "segments": [], "words": "no data"}


def test_the_page_says_what_the_record_says() -> None:
    _, page = make()
    for words in (
        "1.50× faster",
        "6 → 5 weighted operators on the longest path",
        "97.50 → 97.50 % right",
        "verified on 60 samples",
        "The input against itself, in the same run: 0.995 to 1.004",
        "onnx-nepenthe collapse 'a b.onnx'",
        "Conv 3x3 8→16",
        "--latency off takes it",
        "seen 300 times per channel",
    ):
        assert words in page.text


def test_a_page_without_a_result_says_so() -> None:
    _, page = make(collapsed=False)
    assert "latency not measured" in page.text
    assert "nothing to verify: the result is the input" in page.text
    assert "Rewrites" not in page.text


def test_dark_mode_and_small_screens_are_provided_for() -> None:
    text, page = make()
    assert "prefers-color-scheme: dark" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
