"""The table of proofs, on one small net."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxsim")
pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import proof, readme


def small(slow: bool) -> list[proof.Case]:
    return [proof.Case("mlp 8-16-16-4", proof.mlp(0, 8, 16, 16, 4), (0.0, 0.1))]


def test_it_proves_as_much_and_puts_the_table_into_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    page = tmp_path / "README.md"
    page.write_text("<!-- bench:proof -->\nold\n<!-- /bench:proof -->\n", encoding="utf-8")
    monkeypatch.setattr(readme.replace, "__defaults__", (page,))
    monkeypatch.setattr(proof, "cases", small)
    assert proof.main(["--budget", "30", "--update-readme"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "8-16" in line)
    assert line in page.read_text(encoding="utf-8")
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    units, theirs, intervals, ours, fallen = (int(cells[at]) for at in (2, 3, 4, 5, 8))
    assert units == 32
    assert intervals <= ours <= units
    assert 0 < theirs <= ours
    assert fallen == 0


def test_a_proof_that_falls_or_is_missing_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(proof, "cases", small)
    monkeypatch.setattr(proof, "theirs", lambda case: 33)
    assert proof.main([]) == 1
    monkeypatch.undo()
    monkeypatch.setattr(proof, "cases", small)
    monkeypatch.setattr(proof, "falsified", lambda *_: ["z0"])
    assert proof.main([]) == 1
