"""docs/pipelines.md: what it tells to put into a pipeline runs as written."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

import onnx_nepenthe

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
PAGE = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    words = shlex.split(command)
    return subprocess.run(
        words, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, encoding="utf-8", check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page calls model.onnx, calibration.npz and new.npz, also in models/."""
    (tmp_path / "models").mkdir()
    for place in (tmp_path, tmp_path / "models"):
        shutil.copy(MODELS / "digits-mlp.onnx", place / "model.onnx")
        shutil.copy(MODELS / "digits-calibration.npz", place / "calibration.npz")
    shutil.copy(MODELS / "digits-test.npz", tmp_path / "new.npz")
    return tmp_path


def drift_commands() -> list[str]:
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    return [line for line in lines if line.startswith("onnx-nepenthe inspect")]


def test_drift_fails_where_the_data_or_the_model_changed(folder: Path) -> None:
    measure, compare = drift_commands()
    assert run(measure, folder).returncode == 0
    assert run(compare, folder).returncode == 0
    with np.load(folder / "new.npz") as archive:
        np.savez(folder / "new.npz", input=-10 * archive["input"])
    done = run(compare, folder)
    assert done.returncode == 3, done.stdout + done.stderr
    model = onnx.load(folder / "model.onnx")
    weight = model.graph.initializer[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.5), weight.name))
    onnx.save(model, folder / "model.onnx")
    done = run(compare, folder)
    assert done.returncode == 2
    assert "the measurement is of another model" in done.stderr


def test_the_workflow_and_the_hook_run_the_same_command(folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    workflow, config = (yaml.safe_load(block) for block in blocks("yaml"))
    steps = workflow["jobs"]["drift"]["steps"]
    (command,) = [step["run"] for step in steps if step.get("run", "").startswith("onnx-nepenthe")]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    (used,) = config["repos"][0]["hooks"]
    needed = {"additional_dependencies": [f"onnx-nepenthe[cpu]=={onnx_nepenthe.__version__}"], "args": used["args"]}
    del hook["description"]
    assert used == hook | needed
    assert config["repos"][0]["repo"] == "local"
    assert f"{hook['entry']} {shlex.join(used['args'])}" == command
    assert run(command, folder).returncode == 1, "there is no evidence yet"
    measure = command.replace("--against", "--json")
    assert run(measure, folder).returncode == 0
    assert run(command, folder).returncode == 0


def test_collapsed_then_quantised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of the page, from the file to an int8 model that is as accurate."""
    from onnxruntime.quantization import CalibrationDataReader  # noqa: PLC0415 — slow, and only needed here

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            with np.load("calibration.npz") as archive:
                self._feeds = iter(np.split(archive["input"], 10))

        def get_next(self) -> dict[str, np.ndarray] | None:
            feed = next(self._feeds, None)
            return None if feed is None else {"input": feed}

    monkeypatch.chdir(folder)
    (block,) = [block for block in blocks("python") if "quantize_static" in block]
    import onnx_nepenthe  # noqa: PLC0415 — the name that the block uses

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(block, {"onnx_nepenthe": onnx_nepenthe, "make_reader": Reader})
    with np.load("new.npz") as archive:
        images, labels = archive["input"], archive["labels"]

    def accuracy(path: str) -> float:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return float(np.mean(session.run(None, {"input": images})[0].argmax(axis=1) == labels))

    steps = [accuracy(path) for path in ("model.onnx", "collapsed.onnx", "prepared.onnx", "int8.onnx")]
    assert steps[1] == steps[0]
    assert max(steps) - min(steps) <= 0.01
    sizes = [Path(path).stat().st_size for path in ("int8.onnx", "collapsed.onnx", "model.onnx")]
    assert sizes == sorted(sizes)


@pytest.fixture
def tensorrt_engine() -> ModuleType:
    pytest.importorskip("onnx_graphsurgeon")
    spec = importlib.util.spec_from_file_location("tensorrt_engine", ROOT / "tools" / "tensorrt_engine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tensorrt_is_reached_through_graphsurgeon(
    tensorrt_engine: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.chdir(folder)
    assert tensorrt_engine.main(["model.onnx", "--data", "calibration.npz", "--latency", "off", "-o", "m.engine"]) == 0
    assert "no engine was built" in capsys.readouterr().out
    onnx.checker.check_model("model.collapsed.onnx", full_check=True)
    before, after = (onnx.load(name).graph.node for name in ("model.onnx", "model.collapsed.onnx"))
    assert len(after) < len(before)
    assert not Path("m.engine").exists()


def test_an_engine_is_built(tensorrt_engine: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt")
    monkeypatch.chdir(folder)
    given = ["model.onnx", "--data", "calibration.npz", "--latency", "off", "--shape", "input:1x1x8x8"]
    assert tensorrt_engine.main([*given, "-o", "m.engine"]) == 0
    assert Path("m.engine").stat().st_size > 0
