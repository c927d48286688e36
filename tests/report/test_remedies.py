"""Every remedy that the package names anywhere is of a known kind."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import onnx_nepenthe
from onnx_nepenthe.linearise import PAY
from onnx_nepenthe.report.remedies import NOTHING, remedies_of

PACKAGE = Path(onnx_nepenthe.__file__).parent


@cache
def lifts() -> frozenset[str]:
    """The second argument of every `Refused` of the ONNX half, as far as it is written out."""
    found: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        if "prune" in file.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="Refused"), args=[_, ast.Constant(value=str(lift))]):
                    found.add(lift)
                case ast.Call(func=ast.Name(id="Refused"), args=[_, ast.Name(id="PAY")]):
                    found.add(PAY)
                case ast.Call(func=ast.Name(id="Refused"), args=[_, ast.JoinedStr(values=parts)]):
                    found.add("".join(p.value if isinstance(p, ast.Constant) else "0" for p in parts))
    return frozenset(found)


def test_there_are_remedies_to_look_at() -> None:
    assert len(lifts()) > 10


@pytest.mark.parametrize("lift", sorted(lifts()))
def test_every_remedy_is_of_a_known_kind(lift: str) -> None:
    assert NOTHING not in remedies_of(lift)


def test_a_lift_may_name_several() -> None:
    assert remedies_of("prune it, or pay with --max-drop") == ["a budget (--max-drop)", "pruning or fine-tuning"]
    assert remedies_of("") == [NOTHING]
