"""What is published: a wheel and an archive of the sources, and a command that works from the wheel alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import onnx_nepenthe

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")
BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
VERSION = onnx_nepenthe.__version__


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, built from a copy: a build leaves folders where it ran."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("release")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "onnx_nepenthe", folder / "onnx_nepenthe", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    (folder / "tests" / "test_of_ours.py").touch()
    (folder / "dist").mkdir()
    done = run(sys.executable, "-c", BUILD, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"onnx_nepenthe-{VERSION}-py3-none-any.whl"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    tracked = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "onnx_nepenthe").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == tracked
    assert "onnx_nepenthe/py.typed" in held
    vendored = "onnx_nepenthe/report/vendor/"
    scripts = {Path(name).name.split(".")[0] for name in held if name.startswith(vendored) and name.endswith(".js")}
    assert scripts == {Path(name).name.split(".")[1] for name in held if name.startswith(f"{vendored}LICENSE")}, (
        "every library that is carried along has its licence beside it"
    )


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"onnx_nepenthe-{VERSION}.dist-info"
        said = message_from_string(archive.read(f"{info}/METADATA").decode())
        scripts = archive.read(f"{info}/entry_points.txt").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("onnx-nepenthe", VERSION, "Apache-2.0")
    assert set(said.get_all("Provides-Extra")) >= {"cpu", "gpu", "prune", "graphsurgeon"}
    assert "onnx-nepenthe = onnx_nepenthe.cli:main" in scripts
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_archive_can_be_built_from_and_has_no_tests(dist: Path) -> None:
    with tarfile.open(dist / f"onnx_nepenthe-{VERSION}.tar.gz") as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {*SOURCES, "onnx_nepenthe/report/vendor/README.md", "onnx_nepenthe/py.typed"} <= held
    assert [name for name in held if name.startswith("tests")] == []


def test_the_version_stands_in_one_place() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in text
    assert VERSION not in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_command_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """As `pipx run` would: an environment of its own, a folder that is no checkout."""
    pytest.importorskip("pip")
    assert run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=tmp_path).returncode == 0
    python = tmp_path / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    done = run(*pip, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # What it needs is not downloaded again; a folder that a .pth names is searched, its own .pth files are not read.
    site = next((tmp_path / "env" / "lib").glob("*/site-packages"))
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    for name in ("digits-mlp.onnx", "digits-calibration.npz"):
        shutil.copy(ROOT / "models" / name, tmp_path / name)
    command = tmp_path / "env" / "bin" / "onnx-nepenthe"
    given = ("--data", "digits-calibration.npz", "--latency", "off", "-o", "out.onnx", "--report", "report.html", "-q")
    done = run(command, "collapse", "digits-mlp.onnx", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rectifiers 4 → 2" in done.stdout
    assert "<svg" in (page := (tmp_path / "report.html").read_text(encoding="utf-8")) or "<script" in page
    where = run(python, "-c", "import onnx_nepenthe; print(onnx_nepenthe.__file__)", cwd=tmp_path).stdout
    assert Path(where.strip()).is_relative_to(site)
