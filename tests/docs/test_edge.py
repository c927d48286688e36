"""edge.md: its commands run as they are written, in order, and what it promises of them holds.

At the place of the bundled model lies a small one, and a timing may take a moment only.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from documenting.pages import DOCS, blocks

from onnx_nepenthe.cli import app
from onnx_nepenthe.latency import pairs
from tests.helpers.outcomes import save_case

TEXT = (DOCS / "edge.md").read_text(encoding="utf-8")
A_MOMENT = ("--seconds", "0.01")
SETTING = {"model", "provider", "threads", "batch"}
"""Columns that say what a line is about."""


def command(start: str) -> list[str]:
    (line,) = [c for block in blocks(TEXT, "console") for c in block.commands if c.startswith(f"onnx-nepenthe {start}")]
    return shlex.split(line)[1:]


def run(words: list[str]) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}"
    return done.stdout


def table_of_the_page() -> dict[str, set[str]]:
    """First column → the names that are code in the second."""
    rows = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("|")]
    return {first.strip(): set(re.findall(r"`(\w+)`", names)) for first, names, _ in rows[2:]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's commands are typed; other options of the machine do not matter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "models").mkdir()
    model, data = save_case(tmp_path)
    os.replace(model, tmp_path / "models" / "digits-resnet.onnx")
    os.replace(data, tmp_path / "models" / "digits-calibration.npz")
    return tmp_path


def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("timed on the workstation")


def test_the_page_is_one_story(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs, proof = command("bench models/digits-resnet.onnx --data"), command("bench models/digits-resnet.onnx board")
    collapse = command("collapse")
    run([*costs, *A_MOMENT])
    check_the_workstation(collapse, folder, monkeypatch)
    run([*proof, *A_MOMENT, "--no-memory"])
    check_the_proof(proof)


def check_the_workstation(collapse: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed, and the same command gives the same file, whatever else this machine has measured."""
    with monkeypatch.context() as stopped:
        stopped.setattr(pairs, "per_call_s", forbidden)
        run([*collapse, "--json", "first.json"])
        first = Path("board.onnx").read_bytes()
        stopped.setenv("XDG_CACHE_HOME", str(folder / "another machine"))
        assert run(collapse).splitlines()[-1].startswith("board.onnx written: ")
        assert Path("board.onnx").read_bytes() == first
        table = collapse.index("--latency-table")
        timed = CliRunner().invoke(app, [*collapse[:table], *collapse[table + 2 :], "--no-cache"])
        assert "timed on the workstation" in timed.output, "what is forbidden is what timing needs"
    record = json.loads(Path("first.json").read_text(encoding="utf-8"))
    assert record["latency"]["measured"] is False
    assert record["verification"]["passed"] is True


def check_the_proof(proof: list[str]) -> None:
    """A line of the CSV, and an entry of the JSON, for each model at each number of threads and each batch."""
    with Path("board.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    at = [(line["model"], line["threads"], line["batch"]) for line in lines]
    models = proof[1:3]
    assert sorted(at) == sorted((model, threads, batch) for model in models for threads in "12" for batch in "18")
    named = set().union(*table_of_the_page().values())
    assert set(lines[0]) == named | SETTING
    entries = json.loads(Path("board-times.json").read_text(encoding="utf-8"))["models"]
    assert len(entries) == len(lines)
    alone, beside = entries[0], entries[1]["against_first"]
    assert named <= set(alone) | set(beside)
