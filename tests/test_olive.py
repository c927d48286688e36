"""The pass of Olive: its parameters are our options, and a workflow that has it collapses its model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import onnx
import pytest

from onnx_nepenthe import olive
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.run import Arguments

MODELS = Path(__file__).resolve().parents[1] / "models"
DATA = str(MODELS / "digits-calibration.npz")


def relus(path: Path) -> int:
    return [node.op_type for node in onnx.load(path).graph.node].count("Relu")


def test_every_parameter_is_an_option() -> None:
    assert set(olive.PARAMETERS) - {"data"} <= set(get_type_hints(Arguments))


def test_what_the_pass_does(tmp_path: Path) -> None:
    given = dict.fromkeys(olive.PARAMETERS) | {"data": DATA, "latency": "off"}
    olive.collapsed(MODELS / "digits-mlp.onnx", tmp_path / "out.onnx", given)
    assert relus(tmp_path / "out.onnx") < relus(MODELS / "digits-mlp.onnx")


def test_without_olive_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "olive", None)
    with pytest.raises(NepentheError, match="pip install olive-ai"):
        olive.package_configuration()
    assert olive.main() == 1
    assert capsys.readouterr().err == "Olive is not installed; run `pip install olive-ai`\n"


def test_it_has_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = olive.Other


@pytest.mark.filterwarnings("ignore")
def test_a_workflow_collapses(tmp_path: Path) -> None:
    """In a process of its own: Olive sets up logging, warnings and the libraries it uses for all."""
    pytest.importorskip("olive")
    (tmp_path / "package.json").write_text(json.dumps(olive.package_configuration()), encoding="utf-8")
    passes = {
        "collapse": {"type": "OnnxNepenthe", "data": DATA, "latency": "off"},
        "quantise": {"type": "OnnxDynamicQuantization"},
    }
    for name, used in (("collapsed", ["collapse"]), ("both", ["collapse", "quantise"])):
        workflow = {
            "input_model": {"type": "ONNXModel", "model_path": str(MODELS / "digits-mlp.onnx")},
            "passes": {step: passes[step] for step in used},
            "output_dir": str(tmp_path / name),
            "cache_dir": str(tmp_path / "cache"),
        }
        (tmp_path / "workflow.json").write_text(json.dumps(workflow), encoding="utf-8")
        code = "import sys; from olive.workflows import run; run(sys.argv[1], package_config=sys.argv[2])"
        command = [sys.executable, "-c", code, "workflow.json", "package.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
    collapsed, both = tmp_path / "collapsed" / "model.onnx", tmp_path / "both" / "model.onnx"
    assert relus(collapsed) == relus(both) < relus(MODELS / "digits-mlp.onnx")
    assert both.stat().st_size < 0.5 * collapsed.stat().st_size
