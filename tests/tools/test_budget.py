"""tools/bench.py budget: its baselines and its tables; never its times."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onnx_nepenthe import budgeted, workshop
from onnx_nepenthe.options import Options
from tests.helpers.fronts import save_classifier
from tests.helpers.outcomes import comparison

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def budget() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "tools"))
    yield importlib.import_module("benchmarks.budget")
    sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def case(budget: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    model, data = save_classifier(tmp_path_factory.mktemp("case"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (budget, budgeted):
            patch.setattr(module, "compare_models", lambda *rest, **more: comparison(1.0))
        patch.setattr(workshop, "PART_BUDGET_S", 0.002)
        yield budget.Case(str(model), Options(data=str(data), prove_budget_s=0.0, latency="off"))


@pytest.fixture(scope="module")
def bench(budget: ModuleType, case: Any) -> Any:
    return budget.opened(case.path, case.options)


def test_lines_lose_less_than_identities(bench: Any) -> None:
    count = len(bench.lines)
    assert count == 2
    easier = bench.drop_of_first("identity by entropy (EASIER, untrained)", count)
    assert bench.drop_of_first("lines by entropy", count) < easier


def test_the_most_sensitive_goes_last(bench: Any) -> None:
    assert {frozenset(order) for order in bench.orders.values()} == {frozenset(bench.lines)}
    first, last = (bench.drop(bench.first("lines by sensitivity", 1)), bench.drop_of_first("lines by entropy", 1))
    assert first <= last


@pytest.mark.parametrize("method", range(5))
def test_no_method_loses_more_than_allowed(budget: ModuleType, bench: Any, method: int) -> None:
    name = budget.METHODS[method]
    assert bench.lost(budget.made_by(name, bench, 60.0))[0] <= 60.0
    before = bench.shop.original_scores("verification")
    assert bench.lost(budget.made_by(name, bench, 0.0))[0] <= 0.0
    assert before.mean() == 100.0


def test_where_even_the_exact_collapse_loses_too_much_the_input_is_left(
    budget: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(bench), "lost", lambda self, model: (1.0, 0.0, 2.0))
    assert budget.made_by("lines by both", bench, 0.5) is bench.input


def test_a_table_has_a_row_per_price_and_says_nothing_twice(budget: ModuleType, case: Any) -> None:
    body = list(budget.rows(case, [30.0, 60.0], [1, 2]))
    lines = budget.table(budget.HEADER, body, 2)
    assert {line.count("|") for line in lines} == {len(budget.HEADER) + 1}
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["model", "", "", ""]
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["1", "", "2", ""]
    assert [line.split("|")[3].strip() for line in lines[2:]] == ["30", "60", "30", "60"]
    assert all("**1.00×**" in line for line in lines[2:])
    assert body[0][-1].endswith(", 1.00×, 0"), "all of its rectifiers may go for 30 points"


def test_orders_are_compared_rectifier_by_rectifier(budget: ModuleType, case: Any) -> None:
    rows = list(budget.orders(case, 3))
    assert [row[1] for row in rows] == ["entropy", "sensitivity", "both"]
    assert all(len(row) == 5 and row[4] == "" for row in rows)
    assert float(rows[1][2]) <= float(rows[0][2])
    assert rows[0][3] == rows[1][3], "all of them are all of them"


def test_models_come_with_data_and_the_digits_by_themselves(budget: ModuleType) -> None:
    given = budget.arguments(["m.onnx", "n.onnx", "--data", "d.npz", "e.npz"])
    assert (given.drops, given.batch) == ([0.5, 1.0, 2.0, 4.0], [1, 8])
    assert [(case.name, case.options.data) for case in budget.cases_of(given)] == [("m", "d.npz"), ("n", "e.npz")]
    bundled = budget.cases_of(budget.arguments([]))
    assert [case.name for case in bundled] == ["digits-mlp", "digits-resnet"]
    assert bundled[0].options.data["input"].shape[0] == 700
    both = budget.cases_of(budget.arguments(["m.onnx", "--data", "d.npz", "--bundled"]))
    assert [case.name for case in both] == ["m", "digits-mlp", "digits-resnet"]
    with pytest.raises(SystemExit):
        budget.arguments(["m.onnx"])


def test_the_readme_gets_the_tables(
    budget: ModuleType, case: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr(budget.readme, "replace", written.__setitem__)
    monkeypatch.setattr(budget, "cases_of", lambda args: [case])
    assert budget.main(["--drops", "60", "--batch", "1", "--order", "2", "--update-readme"]) == 0
    assert written["budget"].strip() == capsys.readouterr().out.strip()
    assert "onnxruntime" in written["budget"]
    assert "| lines by both |" in written["budget"].splitlines()[2]
    assert "| sensitivity |" in written["budget"]
