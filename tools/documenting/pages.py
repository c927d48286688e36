"""A page of the documentation: its fenced blocks, and what stands between its markers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PROMPT = "$ "
_BLOCK = re.compile(r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^```$", re.M | re.S)
_TABLE = re.compile(r"<!-- table:(?P<name>[\w -]+) -->\n(?P<text>.*?)<!-- /table -->", re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: after the fence.
        title: the file that it is, or changes; "" for none.
        text: its lines.
    """

    language: str
    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What follows a prompt; a line that ends in a backslash goes on in the next."""
        found: list[str] = []
        lines = iter(self.text.splitlines())
        for line in lines:
            if not line.startswith(PROMPT):
                continue
            command = line.removeprefix(PROMPT)
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append(command)
        return found


def pages() -> list[Path]:
    """All pages, in the order of their names."""
    return sorted(DOCS.rglob("*.md"))


def blocks(text: str, *languages: str) -> list[Block]:
    """The fenced blocks of a page, in order; of some languages only where any are given."""
    found = [Block(m["language"], m["title"] or "", m["text"]) for m in _BLOCK.finditer(text)]
    return [block for block in found if not languages or block.language in languages]


def with_blocks(text: str, change: Callable[[Block], str]) -> str:
    """The page with the text of every fenced block as `change` gives it."""

    def again(match: re.Match[str]) -> str:
        block = Block(match["language"], match["title"] or "", match["text"])
        start, end = match.start("text") - match.start(), match.end("text") - match.start()
        return match[0][:start] + change(block) + match[0][end:]

    return _BLOCK.sub(again, text)


def tables(text: str) -> dict[str, str]:
    """Name → text of what stands between `<!-- table:NAME -->` and `<!-- /table -->`."""
    return {match["name"]: match["text"].strip() for match in _TABLE.finditer(text)}


def with_tables(text: str, make: Callable[[str], str]) -> str:
    """The page with every table as `make` gives it for its name."""
    return _TABLE.sub(lambda m: f"<!-- table:{m['name']} -->\n{make(m['name'])}\n<!-- /table -->", text)


def changed(text: str, diff: str) -> str:
    """`text` with the hunks of `diff` applied; hunks are parted by a line that starts with "@@".

    Raises:
        ValueError: what a hunk is to change is not there exactly once.
    """
    for hunk in re.split(r"^@@.*\n", diff, flags=re.M):
        lines = [(line[:1], line[1:] + "\n") for line in hunk.splitlines()]
        old = "".join(line for mark, line in lines if mark != "+")
        new = "".join(line for mark, line in lines if mark != "-")
        if text.count(old) != 1:
            raise ValueError(f"stands there {text.count(old)} times, not once:\n{old}")
        text = text.replace(old, new)
    return text
