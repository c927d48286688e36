"""The recipes of architecture.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from documenting.pages import DOCS, ROOT, Block, blocks, changed

MADE = ("Shrink", "Mean", "random", "npy")
"""Words in the names of the tests that the recipes add rows to."""
TESTS = ("activations", "ops", "methods", "sources")


@pytest.fixture(scope="module")
def steps() -> list[Block]:
    return [block for block in blocks((DOCS / "architecture.md").read_text(encoding="utf-8")) if block.title]


@pytest.fixture(scope="module")
def copy(steps: list[Block], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with all recipes followed."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("onnx_nepenthe", "tests/contract", "tests/helpers", "tests/prune"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for step in steps:
        file = folder / step.title
        if step.language == "diff":
            file.write_text(changed(file.read_text(encoding="utf-8"), step.text), encoding="utf-8")
        else:
            assert not file.exists(), f"{step.title} is there already"
            file.write_text(step.text, encoding="utf-8")
    return folder


def test_each_recipe_is_one_file_one_registration_and_one_row(steps: list[Block]) -> None:
    new = [step.title for step in steps if step.language == "python"]
    assert [Path(name).parent.name for name in new] == ["activations", "ops", "methods", "sources"]
    for name in new:
        package = str(Path(name).parent / "__init__.py")
        assert any(step.title == package and Path(name).stem.lower() in step.text.lower() for step in steps)
    rows = {step.title for step in steps if step.title.startswith("tests/contract/")}
    assert rows == {f"tests/contract/test_{name}.py" for name in TESTS}


def test_what_they_add_passes_the_contract_tests(copy: Path) -> None:
    files = [f"tests/contract/test_{name}.py" for name in TESTS]
    options = ["-q", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", " or ".join((*MADE, "has_a_row")), *files],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_what_they_add_is_there_by_name(copy: Path) -> None:
    code = (
        "import onnx_nepenthe\n"
        "from onnx_nepenthe.activations import ACTIVATIONS\n"
        "from onnx_nepenthe.ops import READERS\n"
        "from onnx_nepenthe.prune.methods import METHODS\n"
        "from onnx_nepenthe.sources import SOURCES\n"
        "assert 'Shrink' in ACTIVATIONS and 'Mean' in READERS and 'random' in METHODS and 'npy' in SOURCES\n"
        "print(onnx_nepenthe.__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(copy / "onnx_nepenthe" / "__init__.py")


def test_the_torch_half_learns_the_activation(copy: Path) -> None:
    pytest.importorskip("torch")
    code = (
        "from torch import nn\n"
        "from onnx_nepenthe.prune.calls import activation_of\n"
        "found = activation_of(nn.Softshrink(0.3), (2, 3, 4, 4))\n"
        "assert found.knots == (-0.3, 0.3), found\n"
    )
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
