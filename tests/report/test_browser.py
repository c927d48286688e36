"""Pages in a browser: nothing goes wrong, nothing is loaded, charts show, filters work, a phone is wide enough.

Skipped where there is no Chromium; one browser serves all tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from onnx_nepenthe.outcome import Inspection, Refusal
from onnx_nepenthe.report.front import record_of_frontier
from onnx_nepenthe.report.front_page import page_of_front
from onnx_nepenthe.report.html import page_from
from onnx_nepenthe.report.json import record_of_outcome
from onnx_nepenthe.report.pruning_page import page_of_pruning
from tests.helpers import outcomes
from tests.helpers.browser import CHROMIUM, Browser, browser
from tests.helpers.made_front import front
from tests.helpers.made_pruning import pruning

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
WICKED = "</script><script>window.hacked = 1</script><img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


def wicked(found: Inspection) -> Inspection:
    first = replace(found.rows[0], rectifier=replace(found.rows[0].rectifier, label=WICKED))
    refusal = Refusal(WICKED, "reader", f"its name is {WICKED}", f"call it other than {WICKED}")
    return replace(found, rows=(first, *found.rows[1:]), refusals=(*found.refusals, refusal), name=WICKED)


def collapse() -> str:
    found = outcomes.outcome()
    (rewrite,) = found.rewrites
    operators = tuple(replace(drawn, label=WICKED, op=WICKED) for drawn in rewrite.before.operators)
    drawn = replace(rewrite, made=WICKED, before=replace(rewrite.before, operators=operators))
    return page_from(record_of_outcome(replace(found, inspection=wicked(found.inspection), rewrites=(drawn,))))


PAGES: dict[str, tuple[Callable[[], str], list[str]]] = {
    "collapse": (collapse, ["times", "ratios", "entropy", "shares"]),
    "prune": (lambda: page_of_pruning(pruning(network=WICKED)), ["accuracy", "pq", "rounds", "robustness", "times"]),
    "front": (lambda: page_of_front(record_of_frontier(front(WICKED))), ["front"]),
}
CHARTS = """Object.fromEntries([...document.querySelectorAll("[data-chart]")].map(
    (host) => [host.dataset.chart, host.querySelectorAll("svg[role=img] :is(rect, path, circle)").length]))"""


def load(tab: Browser, page: str, folder: Path, *, width: int = 1024, scheme: str = "light") -> None:
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    tab.open(file, width=width, scheme=scheme)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_a_fault_and_draws_its_charts(tab: Browser, tmp_path: Path, name: str) -> None:
    make, charts = PAGES[name]
    load(tab, make(), tmp_path)
    assert tab.faults == []
    assert tab.requests == [(tmp_path / "page.html").as_uri()]
    assert tab.run("window.hacked") is None
    drawn = tab.run(CHARTS)
    assert [chart for chart in charts if not drawn[chart]] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_all_of_it_in_the_dark(tab: Browser, tmp_path: Path, name: str) -> None:
    load(tab, PAGES[name][0](), tmp_path, width=375, scheme="dark")
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tab.settle()
    assert tab.run("[document.documentElement.scrollWidth, innerWidth]") == [375, 375]
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    assert tab.faults == []


def test_refusals_are_filtered_by_words_and_by_remedy(tab: Browser, tmp_path: Path) -> None:
    load(tab, page_from(record_of_outcome(outcomes.outcome())), tmp_path)

    def shown() -> tuple[int, str]:
        count = tab.run("[...document.querySelectorAll('.refusal')].filter((one) => one.offsetParent).length")
        return count, tab.run("document.getElementById('refusal-count').textContent")

    assert shown() == (3, "3 of 3 reasons")
    tab.run("document.getElementById('refusal-text').focus()")
    tab.call("Input.insertText", text="SLOWER")
    assert shown() == (1, "1 of 3 reasons")
    for _ in "SLOWER":
        tab.press("Backspace", 8)
    assert shown() == (3, "3 of 3 reasons")
    choose = """(() => { const s = document.getElementById("refusal-remedy"); s.value = %s;
        s.dispatchEvent(new Event("change")); })()"""
    tab.run(choose % json.dumps("pruning or fine-tuning"))
    assert shown() == (1, "1 of 3 reasons")
    tab.run(choose % '""')
    assert shown() == (3, "3 of 3 reasons")


def test_channels_are_shown_on_demand_with_the_keyboard(tab: Browser, tmp_path: Path) -> None:
    load(tab, page_from(record_of_outcome(outcomes.outcome())), tmp_path)
    cells = "document.querySelectorAll('[data-chart=channels] [aria-label=cell] rect').length"
    assert tab.run(cells) == 0
    tab.run("document.querySelector('#by-channel > summary').focus()")
    tab.press("Enter", 13, "\r")
    tab.settle()
    assert tab.run(cells) == 2 * 2 * 4
    tab.run("document.getElementById('layer').focus()")
    tab.press("ArrowDown", 40)
    tab.press("ArrowDown", 40)
    tab.settle()
    assert "stays: 2 of 2 channels" in tab.run("document.getElementById('layer-words').textContent")
    tab.run("document.getElementById('channel-table').open = true")
    tab.settle()
    rows = tab.run("[...document.querySelectorAll('#channel-table tbody tr')].map((row) => row.textContent)")
    assert rows == ["0changes25 %75 %0.811 bits", "1changes50 %50 %1.000 bits"]


def test_a_region_is_drawn_before_and_after(tab: Browser, tmp_path: Path) -> None:
    load(tab, page_from(record_of_outcome(outcomes.outcome())), tmp_path)
    texts = "[...document.querySelectorAll('.graph[data-side=%s] g text:first-of-type')].map((t) => t.textContent)"
    assert tab.run(texts % "before") == ["Conv", "Relu", "Conv", "layer1_x", "layer2_y"]
    assert tab.run(texts % "after") == ["Conv 3x3 8→16", "layer1_x", "layer2_y"]


def test_a_screen_reader_meets_every_chart_by_name(tab: Browser, tmp_path: Path) -> None:
    load(tab, page_from(record_of_outcome(outcomes.outcome())), tmp_path)
    names = tab.names()
    pictures = [name for role, name in names if role in ("image", "img")]
    assert len([name for name in pictures if name]) == len(pictures) >= 6
    headings = [name for role, name in names if role == "heading"]
    assert headings[0] == "1.50× faster, same accuracy"
    fields = {role: name for role, name in names if role in ("searchbox", "combobox")}
    assert fields == {"searchbox": "Search", "combobox": "What would help"}
