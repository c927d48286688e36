"""The tutorial runs as it is written, from the first block to the last."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from documenting.pages import DOCS, ROOT, blocks

from onnx_nepenthe.cli import app

for needed in ("torch", "accelerate", "onnxscript", "sklearn"):
    pytest.importorskip(needed)

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run(command: str, folder: Path) -> None:
    """As a reader types it; the tool itself in this process, which has loaded it already."""
    program, *arguments = shlex.split(command)
    if program == "onnx-nepenthe":
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{command}\n{done.output}"
        return
    assert program == "python"
    script = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert script.returncode == 0, script.stderr


def rectifiers(path: Path) -> int:
    return sum(node.op_type == "Relu" for node in onnx.load(path).graph.node)


def convolutions(path: Path) -> int:
    return sum(node.op_type == "Conv" for node in onnx.load(path).graph.node)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = set()
    for block in blocks((DOCS / "tutorial.md").read_text(encoding="utf-8"), "python", "console"):
        if block.title:
            with Path(block.title).open("a", encoding="utf-8") as file:
                file.write(block.text)
        for command in block.commands:
            run(command, tmp_path)
            names.add(" ".join(command.split()[:2]))
    assert names == {
        "python tutorial.py",
        *(f"onnx-nepenthe {name}" for name in ("inspect", "collapse", "verify", "bench")),
    }
    assert rectifiers(tmp_path / "digits.onnx") < 5
    assert convolutions(tmp_path / "shallow.onnx") < convolutions(tmp_path / "digits.onnx") == 5
