"""tools/bench.py budget: its baselines and its tables; never its times."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from onnx_nepenthe.options import Options

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Options(data=str(ROOT / "models" / "digits-calibration.npz"), prove_budget_s=0.0, latency="off")


@pytest.fixture(scope="module")
def budget() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "tools"))
    yield importlib.import_module("benchmarks.budget")
    sys.path.remove(str(ROOT / "tools"))


def test_lines_lose_less_than_identities(budget: ModuleType) -> None:
    bench = budget.opened(str(ROOT / "models" / "digits-mlp.onnx"), OPTIONS)
    assert bench.lines
    assert bench.drop(bench.fitted(bench.lines)) <= bench.drop(bench.identities(bench.lines))
    rows = list(budget.orders(bench, 1))
    assert [row[0] for row in rows] == ["entropy", "sensitivity", "both"]
    assert float(rows[1][1]) <= float(rows[0][1])


def test_nothing_is_removed_that_costs_too_much(budget: ModuleType) -> None:
    bench = budget.opened(str(ROOT / "models" / "digits-mlp.onnx"), OPTIONS)
    model = budget.baseline(bench, bench.identities, -1.0)
    before = bench.shop.original_scores("verification")
    assert (bench.shop.scores(model, "verification") == before).all()


def test_a_row_is_one_line_of_a_table(budget: ModuleType) -> None:
    assert budget.markdown(budget.HEADER).count("|") == len(budget.HEADER) + 1
    given = budget.arguments(["m.onnx", "--data", "d.npz"])
    assert (given.drops, given.batch) == ([0.5, 1.0, 2.0, 4.0], [1, 8])
