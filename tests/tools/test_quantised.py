"""tools/bench.py quantised: collapsing before quantisation or float16 keeps the accuracy and shrinks the result."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.helpers.outcomes import comparison

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("onnxslim")


@pytest.fixture(scope="module")
def quantised() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "tools"))
    yield importlib.import_module("benchmarks.quantised")
    sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def rows(quantised: ModuleType) -> dict[tuple[str, str], Any]:
    return {(row.way, row.form): row for row in quantised.measured("digits-mlp", latency="macs")}


@pytest.mark.parametrize("way", ["collapsed", "onnxslim, collapsed"])
@pytest.mark.parametrize("form", ["float32", "int8", "float16"])
def test_collapsing_first_gives_a_smaller_model_of_the_same_accuracy(
    way: str, form: str, rows: dict[tuple[str, str], Any]
) -> None:
    before, after = rows["as it is", form], rows[way, form]
    assert after.size_bytes < 0.8 * before.size_bytes
    assert after.nodes < before.nodes
    assert abs(after.accuracy - before.accuracy) <= 0.01
    assert abs(after.accuracy - rows["as it is", "float32"].accuracy) <= 0.01


def test_conversions_convert(rows: dict[tuple[str, str], Any]) -> None:
    sizes = [rows["collapsed", form].size_bytes for form in ("int8", "float16", "float32")]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.5 * sizes[2]


def test_the_table_has_a_line_for_each_and_its_place_in_the_docs(
    quantised: ModuleType, rows: dict[tuple[str, str], Any]
) -> None:
    lines = quantised.markdown(list(rows.values())).splitlines()
    assert len([line for line in lines if line.startswith("| digits-mlp |")]) == 9
    assert "times faster" not in lines[2]
    timed = [replace(row, latency=comparison(1.25)) for row in rows.values()]
    assert quantised.markdown(timed).splitlines()[-1].count("|") == quantised.markdown(timed).splitlines()[3].count("|")
    page = quantised.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- bench:quantised -->") == page.count("<!-- /bench:quantised -->") == 1
