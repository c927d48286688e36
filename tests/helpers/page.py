"""A page as a test reads it: tags, text, and what is not closed in order."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "hr", "img", "input"}
UNSEEN = {"script", "style"}


class Page(HTMLParser):
    """Tags with their attributes, text without scripts and styles, faults."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        if not self._open or self._open[-1] not in UNSEEN:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> Any:
        """What its scripts draw."""
        return json.loads(self.scripts[0])


def assert_sound(page: Page) -> None:
    """Well formed, in need of nothing else, every table named, every part reached from somewhere that exists."""
    assert page.faults == []
    assert page.source.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "srcset"}
    assert not {"link", "iframe", "img", "form", "base"} & {tag for tag, _ in page.tags}
    outside = re.sub(r"<script.*?</script>", "", page.source, flags=re.DOTALL)
    assert not re.search(r"https?:|url\(|@import", outside)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(a["href"]) for a in page.all("a")} <= {f"#{name}" for name in ids}
    named = {str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a}
    assert named <= set(ids)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    charts = [a for a in page.all("div") if "data-chart" in a]
    assert all(a["data-label"] for a in charts)
