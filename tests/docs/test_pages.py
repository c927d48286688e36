"""The documentation says what is so: options, commands, papers, messages."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from documenting.pages import DOCS, ROOT, blocks, pages, tables
from documenting.tables import table

from onnx_nepenthe.cli import app
from onnx_nepenthe.prune.methods import METHODS

COMMANDS = ("inspect", "collapse", "verify", "bench", "prune")
NAME = "onnx-nepenthe"
ENDS = {"|", "||", "&&", ";", ">"}
MESSAGE = re.compile(r"^> `{1,2}(.+?)`{1,2}$", re.M)
LEAST = 12
SHARE = 0.35
"""Of a quoted message at least so much has to be one text of the source; the rest is names and numbers."""


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"^ +- .*?([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(named) == sorted(map(name_of, pages()))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_tables_are_what_the_code_says(page: Path) -> None:
    """`python tools/docs.py tables` writes them anew."""
    for name, text in tables(page.read_text(encoding="utf-8")).items():
        assert text == table(name), f"{name_of(page)}: {name}"


def test_every_option_of_every_command_and_method_is_documented() -> None:
    for name in COMMANDS:
        assert name in tables(text_of(f"howto/{name}.md"))
    methods = text_of("methods.md")
    assert set(tables(methods)) == {f"method {name}" for name in METHODS}
    assert set(app.commands) == set(COMMANDS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_section_and_its_paper(name: str) -> None:
    methods, citation = text_of("methods.md"), (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {name}\n" in methods
    assert f"[`{name}`](#{name})" in methods
    for paper in re.findall(r"\d{4}\.\d{5}", METHODS[name].paper):
        assert f"https://arxiv.org/abs/{paper}" in methods
        assert f"arXiv:{paper}" in citation


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every onnx-nepenthe that a reader of the page types."""
    for block in blocks(page.read_text(encoding="utf-8"), "console", "sh"):
        lines = block.commands if block.language == "console" else [block.text.replace("\\\n", " ")]
        for line in lines:
            words = shlex.split(line.replace("\\\n", " ").replace("$(which onnx-nepenthe)", NAME), comments=True)
            starts = [at for at, word in enumerate(words) if word == NAME]
            for start in starts:
                rest = words[start + 1 :]
                end = next((at for at, word in enumerate(rest) if word in ENDS), len(rest))
                yield rest[:end]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_are_understood(page: Path) -> None:
    for name, *arguments in commands(page):
        if name.startswith("-"):
            assert name in {"--version", "--help"}
            continue
        assert name in app.commands, f"{name_of(page)}: {name}"
        with app.commands[name].make_context(name, list(arguments)) as context:
            assert context.params


def test_there_are_commands_to_understand() -> None:
    assert sum(1 for page in pages() for _ in commands(page)) > 40


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        ast.parse(block.text)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_block_is_empty(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.text.strip()
        assert block.language != "console" or block.commands, block.text


def templates() -> Iterator[re.Pattern[str]]:
    """Every text of the source that is long enough to be known again, with anything for what is put in."""
    for file in (ROOT / "onnx_nepenthe").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts = parts_of(node)
            if sum(len(part) for part in parts if part is not None) >= LEAST:
                yield re.compile("".join(".*" if part is None else re.escape(part) for part in parts), re.S)


def parts_of(node: ast.AST) -> list[str | None]:
    match node:
        case ast.Constant(value=str(text)):
            return [part or None for part in re.sub(r"\{\w+\}", "\0\0", text).split("\0")]
        case ast.JoinedStr(values=values):
            return [str(v.value) if isinstance(v, ast.Constant) else None for v in values]
    return []


def test_quoted_messages_are_still_in_the_source() -> None:
    known = list(templates())
    quoted = MESSAGE.findall(text_of("troubleshooting.md"))
    assert len(quoted) > 40
    for message in quoted:
        found = [template for template in known if template.search(message)]
        longest = max((len(re.sub(r"\\(.)|\.\*", r"\1", one.pattern)) for one in found), default=0)
        assert longest >= SHARE * len(message), message


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    command = app.commands[name]
    text = command.get_help(click.Context(command, info_name=name))
    assert f"Example:\n    onnx-nepenthe {name} " in text
    assert f"onnx-nepenthe {name} " in app.get_help(click.Context(app, info_name=NAME))


def test_the_tests_that_hold_a_promise_are_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text_of("faults.md"))
    assert len(named) > 40
    for path, test in named:
        assert f"def {test}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), f"{path}::{test}"
