"""`collapse --pareto` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnx_nepenthe import workshop
from onnx_nepenthe.cli import app
from onnx_nepenthe.options import Options
from tests.helpers.fronts import save_classifier, save_table

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    return save_classifier(tmp_path)


def test_a_folder_is_written_and_told(
    invoke: Invoke, case: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = case
    monkeypatch.setattr(workshop, "PART_BUDGET_S", 0.002)
    table = save_table(tmp_path, model, Options(data=str(data)))
    words = ("--latency-table", table, "--no-cache", "--pareto", "out", "--drops", "10,60")
    done = invoke("collapse", model, "--data", data, *words, "--json", "report.json")
    assert done.exit_code == 0, done.output
    assert "pick one" in done.output
    record = json.loads(Path("report.json").read_bytes())
    files = {path.name for path in Path("out").iterdir()}
    assert {entry["file"] for entry in record["points"]} | {"frontier.json", "frontier.svg", "frontier.html"} == files
    assert all(file in done.output for file in files if file.endswith(".onnx"))
    assert not model.with_name("model.collapsed.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pareto", "out"), "give --data"),
        (("--pareto", "out", "--data", "data.npz", "-o", "a.onnx"), "leave out -o"),
        (("--pareto", "out", "--data", "data.npz", "--plan", "p.json", "--report", "r.html"), "--report and --plan"),
        (("--pareto", "out", "--data", "data.npz", "--target-speedup", "2"), "leave out --target-speedup"),
        (("--pareto", "out", "--data", "data.npz", "--drops", "a"), "not a list of numbers"),
        (("--drops", "1", "--data", "data.npz"), "budgets for --pareto"),
        (("--pareto", "data.npz", "--data", "data.npz"), "is not a folder"),
        (("--pareto", ".", "--data", "data.npz"), "did not write"),
        (("--pareto", "none/out", "--data", "data.npz"), "there is no folder"),
    ],
)
def test_wrong_usage_is_said(invoke: Invoke, case: tuple[Path, Path], words: tuple[str, ...], message: str) -> None:
    done = invoke("collapse", case[0], "--latency", "off", "--no-cache", *words)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not Path("out").exists()


def test_help_says_what_the_folder_has(invoke: Invoke) -> None:
    text = " ".join(invoke("collapse", "--help").output.split())
    assert "--pareto DIR" in text
    assert "frontier.json" in text
