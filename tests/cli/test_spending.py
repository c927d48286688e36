"""A budget on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnx_nepenthe.cli import app
from onnx_nepenthe.metrics import METRICS
from tests.helpers.outcomes import mixed_model, save_case

Invoke = Callable[..., Result]
FAST = ("--latency", "off", "--no-cache", "--prove-budget", "0")


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    return save_case(tmp_path, mixed_model())


def test_help_names_every_metric(invoke: Invoke) -> None:
    text = " ".join(invoke("collapse", "--help").output.split())
    assert all(name in text for name in METRICS)
    assert "--max-drop POINTS" in text


def test_a_budget_is_recorded(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    words = ("--max-drop", "5", "--metric", "error", "--fit-limit", "10", "--json", "out.json")
    done = invoke("collapse", model, "--data", data, *FAST, *words)
    assert done.exit_code == 0, done.output
    record = json.loads(Path("out.json").read_bytes())
    assert (record["options"]["max_drop"], record["options"]["fit_limit"]) == (5.0, 10)
    assert record["price"]["metric"] == "error"
    assert record["price"]["drop"] <= 5
    assert record["price"]["allowed"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-drop", "1"), "give --data"),
        (("--max-drop", "1", "--target-speedup", "2", "--data", "data.npz"), "exclude each other"),
        (("--max-drop", "-1"), "--max-drop"),
        (("--target-speedup", "1"), "--target-speedup"),
        (("--metric", "bleu"), "no metric is called 'bleu'"),
        (("--metric", "top1", "--data", "data.npz"), "give --max-drop, --target-speedup or --pareto"),
        (("--max-drop", "1", "--data", "data.npz", "--proved-only"), "leave out one"),
        (("--pareto", "front", "--data", "data.npz", "--proved-only"), "leave out one"),
        (("--apply", "plan.json", "--max-drop", "1", "--metric", "kl"), "leave out --max-drop and --metric"),
        (("--apply", "plan.json", "--target-speedup", "2"), "leave out --target-speedup"),
    ],
)
def test_wrong_usage_is_said(invoke: Invoke, case: tuple[Path, Path], words: tuple[str, ...], message: str) -> None:
    done = invoke("collapse", case[0], *FAST, *words)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not case[0].with_name("model.collapsed.onnx").exists()


def test_a_speedup_out_of_reach_is_exit_code_3_and_writes_nothing(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    done = invoke("collapse", model, "--data", data, *FAST, "--target-speedup", "1000", "--json", "out.json")
    assert done.exit_code == 3
    assert json.loads(Path("out.json").read_bytes())["error"]["exit_code"] == 3
    assert not model.with_name("model.collapsed.onnx").exists()


def test_a_plan_is_written_and_applied_bit_for_bit(invoke: Invoke, tmp_path: Path) -> None:
    model, data = save_case(tmp_path)
    done = invoke("collapse", model, "--data", data, *FAST, "--plan", "plan.json", "-o", "a.onnx")
    assert done.exit_code == 0, done.output
    done = invoke("collapse", model, *FAST, "--apply", "plan.json", "-o", "b.onnx")
    assert done.exit_code == 0, done.output
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    other, _ = save_case(tmp_path, mixed_model())
    done = invoke("collapse", other, *FAST, "--apply", "plan.json", "-o", "c.onnx")
    assert done.exit_code == 2
    assert "for another model" in done.output
    assert not Path("c.onnx").exists()


def test_a_latency_table_is_measured_and_obeyed(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    done = invoke("bench", model, "--data", data, "--seconds", "0.05", "--table", "table.json", "--batch", "2")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("table.json").read_bytes())["costs"]
    words = ("--latency-table", "table.json", "--max-drop", "5", "--latency-batch", "2", "--no-cache")
    for name in ("a", "b"):
        done = invoke("collapse", model, "--data", data, *words, "--json", f"{name}.json", "-o", f"{name}.onnx")
        assert done.exit_code == 0, done.output
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    assert json.loads(Path("a.json").read_bytes())["latency"]["measured"] is False
    done = invoke("collapse", model, "--data", data, "--latency-table", data)
    assert done.exit_code == 1


def test_a_table_is_of_one_model(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("bench", case[0], case[0], "--table", "table.json")
    assert done.exit_code == 2
    assert "give one" in done.output
