"""The README's commands run as written."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

SUBCOMMANDS = ("inspect", "collapse", "verify", "bench", "prune")
HAS_TORCH = importlib.util.find_spec("accelerate") is not None
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN_DEMO = "ONNX_NEPENTHE_RUN_DEMO"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The lines after a `$ ` prompt, in the order of the page."""
    return [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = os.environ | {"PATH": path} | environment
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A folder that looks like the checkout to a command; what it writes does not land in the real one."""
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    yield tmp_path
    changed = [
        f.name
        for f in (ROOT / "models").glob("*.onnx")
        if f.read_bytes() != (tmp_path / "models" / f.name).read_bytes()
    ]
    assert changed == [], "a command changed its input"


def test_the_two_commands_of_the_project_are_there() -> None:
    assert {"tools/demo", "tools/check"} <= set(commands())
    assert [tool for tool in ("demo", "check") if not os.access(ROOT / "tools" / tool, os.X_OK)] == []


def test_every_command_is_of_a_kind_that_is_tested_here() -> None:
    kinds = ("tools/demo", "tools/check", "pip install '.[", "onnx-nepenthe ")
    assert [c for c in commands() if not c.startswith(kinds)] == []


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_an_example(name: str) -> None:
    assert any(c.startswith(f"onnx-nepenthe {name} ") for c in commands())


def test_onnx_nepenthe_commands_run_in_order(copy: Path) -> None:
    for command in commands():
        if not command.startswith("onnx-nepenthe ") or (" prune " in command and not HAS_TORCH):
            continue
        done = run(shlex.split(command), copy)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), f"{command} printed nothing"
    assert (copy / "collapsed.onnx").is_file()


def test_the_options_it_names_exist(tmp_path: Path) -> None:
    section = README.split("\n## Use")[1].split("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)", section))
    helps = [run(["onnx-nepenthe", name, "--help"], tmp_path) for name in SUBCOMMANDS]
    assert [h.stderr for h in helps if h.returncode != 0] == []
    known = set(re.findall(r"--[a-z-]+", "".join(h.stdout for h in helps)))
    assert "--proved-only" in named
    assert named - known == set()


def test_python_examples_run(copy: Path) -> None:
    assert blocks("python")
    for block in blocks("python"):
        done = run([sys.executable, "-W", "error", "-c", block], copy)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    section = README.split("## Install")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == set(project["optional-dependencies"])


def test_the_files_it_names_exist() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`python (\S+)`", README)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.skipif(os.environ.get(RUN_DEMO) != "1", reason=f"builds a virtual environment; {RUN_DEMO}=1 runs it")
def test_the_demo_runs(tmp_path: Path) -> None:
    done = run(["tools/demo"], ROOT, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "onnx-nepenthe collapse models/digits-resnet.onnx" in done.stdout
    assert [f.name for f in tmp_path.rglob("collapsed.onnx")] == ["collapsed.onnx"]
    assert [f.name for f in tmp_path.rglob("report.*")] != []


def test_the_demo_names_a_bad_interpreter(tmp_path: Path) -> None:
    done = run(["tools/demo"], ROOT, TMPDIR=str(tmp_path), PYTHON="/nonexistent/python3")
    assert done.returncode == 1
    assert "/nonexistent/python3 cannot be used: Python 3.11 or newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_refuses_an_unknown_option() -> None:
    done = run(["tools/check", "--quick"], ROOT)
    assert done.returncode == 2
    assert "Usage: tools/check [--fresh] [VENV]" in done.stderr


def test_check_leaves_a_folder_that_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine", encoding="utf-8")
    done = run(["tools/check", "--fresh", str(tmp_path)], ROOT)
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (tmp_path / "keep").read_text(encoding="utf-8") == "mine"
