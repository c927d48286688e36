"""What an installation promises: metadata, extras, pins, entry point, types, a light import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import resources
from importlib.metadata import entry_points, metadata, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import onnx_nepenthe

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "onnxruntime", "click", "rich", "jinja2", "PIL")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(*extras: str) -> list[Requirement]:
    lines = list(project()["dependencies"])
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def pins() -> dict[str, str]:
    lines = (ROOT / "tools" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert [e for e in entries if not re.fullmatch(r"[\w.-]+==[\w.]+", e)] == []
    found = {canonicalize_name(e.split("==")[0]): e.split("==")[1] for e in entries}
    assert len(found) == len(entries), "a package is pinned twice"
    return found


def needed_by(roots: list[Requirement]) -> set[str]:
    """Names of `roots` and of everything they need on this interpreter and platform, from installed metadata."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(r.name, frozenset(r.extras)) for r in roots]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        name, extras = item
        for line in requires(name) or []:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in (extras or {""})):
                waiting.append((need.name, frozenset(need.extras)))
    return {canonicalize_name(name) for name, _ in seen}


def test_metadata_matches_the_package() -> None:
    assert version("onnx-nepenthe") == onnx_nepenthe.__version__
    assert metadata("onnx-nepenthe")["Requires-Python"] == ">=3.11"
    assert project()["license"] == "Apache-2.0"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").split()[:4] == ["Apache", "License", "Version", "2.0,"]


def test_the_current_version_heads_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == onnx_nepenthe.__version__


def test_the_command_is_installed_and_callable() -> None:
    (command,) = entry_points(group="console_scripts", name="onnx-nepenthe")
    assert callable(command.load())


def test_the_package_is_marked_as_typed() -> None:
    assert resources.files("onnx_nepenthe").joinpath("py.typed").is_file()


@pytest.mark.parametrize("extra", ["cpu", "dev", "graphsurgeon"])
def test_torch_comes_only_with_prune(extra: str) -> None:
    assert not needed_by(requirements(extra)) & {"torch", "accelerate", "onnxruntime-gpu"}


def test_prune_brings_torch() -> None:
    assert {"torch", "accelerate"} <= {r.name for r in requirements("prune")}


def test_cpu_and_gpu_bring_one_onnxruntime_each() -> None:
    extras = project()["optional-dependencies"]
    assert [Requirement(r).name for r in extras["cpu"]] == ["onnxruntime"]
    assert [Requirement(r).name for r in extras["gpu"]] == ["onnxruntime-gpu"]


def test_every_distribution_of_cpu_dev_and_prune_is_pinned() -> None:
    pytest.importorskip("accelerate")
    assert needed_by(requirements("cpu", "dev", "prune")) - set(pins()) == set()


def test_the_pins_satisfy_the_declared_ranges() -> None:
    pinned = pins()
    declared = requirements("cpu", "dev", "graphsurgeon", "prune")
    assert [str(r) for r in declared if pinned[canonicalize_name(r.name)] not in r.specifier] == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, onnx_nepenthe; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_the_onnx_half_works_without_torch(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from onnx_nepenthe.cli import main; main()"
    model, data = ROOT / "models" / "digits-mlp.onnx", ROOT / "models" / "digits-calibration.npz"
    given = ["collapse", model, "--data", data, "--latency", "off", "-o", tmp_path / "out.onnx"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, given)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.onnx").exists()
