"""The frame of every page: what is vendored is what it says, nothing but its own scripts runs, text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import pytest

from onnx_nepenthe.report.page import LIBRARIES, OWN, render
from tests.helpers.page import Page

VENDOR = resources.files("onnx_nepenthe.report").joinpath("vendor")
ROWS = re.findall(r"^\| `(\S+)` \|.* ([0-9a-f]{64}) \|$", VENDOR.joinpath("README.md").read_text("utf-8"), re.MULTILINE)
MOST_BYTES = 600_000
WICKED = (
    "</script><script>window.hacked = 1</script>",
    "<!--<script>",
    "\"><img src=x onerror='window.hacked = 1'>",
    "\u2028window.hacked = 1//",
    "{{ 7 * 7 }}",
)
GROUP = {"stage": "reader", "lift": "", "where": ["x"], "remedies": ["nothing known"]}


def front(name: str) -> str:
    """The smallest of the pages, of a model called `name`."""
    size = {"rectifiers": 1, "weighted_depth": 1, "weight_bytes": 1, "metric_value": 1.0}
    report = {
        **{"metric": name, "samples": 1, "input": size, "points": [], "environment": {name: name}},
        **{"command_line": name, "model": name},
    }
    charts = {"front": {"metric": name}}
    return render("frontier.html.j2", charts, report=report, title=name, headline=name, note=name, missing=[])


def test_vendored_files_are_those_of_the_readme() -> None:
    assert {name for name, _ in ROWS} == {file for _, file in LIBRARIES}
    assert [n for n, digest in ROWS if hashlib.sha256(VENDOR.joinpath(n).read_bytes()).hexdigest() != digest] == []
    assert sum(len(VENDOR.joinpath(name).read_bytes()) for name, _ in ROWS) < MOST_BYTES


@pytest.mark.parametrize(("name", "file"), LIBRARIES)
def test_every_library_goes_with_its_licence(name: str, file: str) -> None:
    licence = VENDOR.joinpath(f"LICENSE.{name}.txt").read_text("utf-8")
    page = front("net")
    assert licence.splitlines()[0] in page
    assert "permission" in licence.lower()
    assert f"/* {file}\n" in page
    assert "sourceMappingURL" not in page


def test_only_the_scripts_of_the_page_may_run_and_nothing_may_be_loaded() -> None:
    page = Page(front("net"))
    (policy,) = [str(a["content"]) for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digests = [hashlib.sha256(script.encode()).digest() for script in page.scripts[1:]]
    assert rules["script-src"].split() == [f"'sha256-{base64.b64encode(d).decode()}'" for d in digests]
    assert len(digests) == len(LIBRARIES) + len(OWN)
    assert (rules["default-src"], rules["form-action"], rules["base-uri"]) == ("'none'",) * 3


@pytest.mark.parametrize("name", WICKED)
def test_what_a_model_calls_itself_is_only_ever_text(name: str) -> None:
    page = Page(front(name))
    assert page.faults == []
    assert page.data == {"front": {"metric": name}}
    assert len(page.scripts) == 1 + len(LIBRARIES) + len(OWN)
    assert page.all("img") == []
    assert name.replace("\u2028", "\ufffd") in " ".join(page.words)


def test_a_page_that_misses_something_is_not_made() -> None:
    with pytest.raises(Exception, match="'headline' is undefined"):
        render("collapse.html.j2", {}, title="x")
