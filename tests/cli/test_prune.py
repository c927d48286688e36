"""`prune` as a user types it: train, prune, export, collapse, report."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("accelerate")
torch = pytest.importorskip("torch")

from onnx_nepenthe.cli import app  # noqa: E402
from onnx_nepenthe.options import Options  # noqa: E402

FEW = ("--width", "0.25", "--epochs", "2", "--batch", "32", "--lr", "0.05", "--rounds", "1", "--threads", "1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes that a line tells apart."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(160, 1, 8, 8)).astype(np.float32)
    path = tmp_path / "data.npz"
    np.savez(path, input=images, labels=(images.mean(axis=(1, 2, 3)) > 0).astype(np.int64))
    return path


def prune(*given: object) -> Result:
    return CliRunner().invoke(app, ["prune", *map(str, given)])


def test_a_network_is_trained_pruned_exported_and_collapsed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counted, not timed: what a net of microseconds gains differs from run to run.
    monkeypatch.setattr("onnx_nepenthe.cli.prune.Options", partial(Options, latency="macs"))
    out, record, page = tmp_path / "net.onnx", tmp_path / "net.json", tmp_path / "net.html"
    given = ("--method", "easier", "--theta", "0", "--collapse", "--robustness", "--test", data)
    done = prune("mlp", "--data", data, "-o", out, *FEW, *given, "--json", record, "--report", page)
    assert done.exit_code == 0, done.output
    assert "1 of 3 rectifiers linear" in done.output.splitlines()[-1].replace("\n", " ")
    assert all(
        len(line) <= 80 for line in done.output.splitlines()[:-1] if "written" not in line and "note" not in line
    )
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["collapse"]["verification"]["source"] == str(data)
    assert found["command"] == "prune"
    assert [entry["phase"] for entry in found["rounds"]] == ["dense", "round"]
    assert len(found["rounds"][1]["linear"]) == 1
    assert found["collapse"]["rectifiers"] == {"before": 2, "after": 2}
    assert found["collapse"]["weighted_depth"]["after"] == 3
    assert found["collapsed_test"] == pytest.approx(found["test"], abs=0.02)
    assert {row["disturbance"] for row in found["robustness"]} >= {"clean", "noise", "fgsm", "atypical quarter"}
    assert set(found["robustness"][0]["accuracy"]) == {"dense", "pruned", "collapsed"}
    model = onnx.load(out)
    onnx.checker.check_model(model)
    notes = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    assert notes["onnx_nepenthe.method"] == "easier"
    assert len(notes["onnx_nepenthe.linear"]) == 1
    assert len(notes["onnx_nepenthe.training_data"]) == 32
    for shares in notes["onnx_nepenthe.regimes"].values():
        assert list(shares) == ["0 OFF", "1 ON"]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert (tmp_path / "net.collapsed.onnx").exists()


def test_the_same_command_gives_the_same_network(data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = prune("mlp", "--data", data, "-o", tmp_path / f"{name}.onnx", *FEW, "--method", "egp")
        assert done.exit_code == 0, done.output
    first, second = (onnx.load(tmp_path / f"{name}.onnx") for name in ("one", "two"))
    assert first.graph.initializer == second.graph.initializer


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("mlp", "--opset", "99"), 1, "opset 99 was asked for"),
        (("mlp", "--method", "press", "--set", "sites=head"), 2, "no activation is called 'head'"),
        (("mlp", "--method", "nepente"), 2, "did you mean 'nepenthe'"),
        (("mpl",), 2, "did you mean 'mlp'"),
        (("mlp", "--method", "egp", "--set", "fraction"), 2, "is not NAME=VALUE"),
        (("mlp", "--method", "egp", "--set", "fraction=2"), 2, "fraction is 2"),
        (("mlp", "--theta", "high"), 2, "theta is 'high'"),
        (("mlp", "--robustness"), 2, "--robustness needs --test"),
        (("mlp", "--max-drop", "1"), 2, "--max-drop is of --collapse"),
        (("mlp", "--resume"), 2, "--resume needs --checkpoint"),
        (("mlp", "--narrow"), 2, "--narrow needs --settle-epochs"),
        (("mlp", "--validation", "none.npz"), 1, "no such file or folder"),
        (("mlp", "--weights", "none.pt"), 1, "no readable weights"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    data: Path, tmp_path: Path, given: tuple[str, ...], code: int, words: str
) -> None:
    out = tmp_path / "net.onnx"
    done = prune(given[0], "--data", data, "-o", out, *FEW, *given[1:])
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not out.exists()


def test_the_opset_and_the_norms_of_the_file_can_be_chosen(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "normed.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)]\n"
        "    return nn.Sequential(*layers)\n",
        encoding="utf-8",
    )
    out = tmp_path / "net.onnx"
    network, given = "normed:net", ("--set", "sites=2", "--set", "epochs=0.5", "--opset", "18", "--keep-norms")
    done = prune(network, "--data", data, "-o", out, *FEW, "--method", "press", *given)
    assert done.exit_code == 0, done.output
    model = onnx.load(out)
    assert [node.name for node in model.graph.node] == ["0", "1", "2", "3", "4"]
    assert model.graph.node[1].op_type == "BatchNormalization"
    assert model.opset_import[0].version == 18


def test_methods_are_listed_with_their_options_and_papers() -> None:
    done = prune("--list-methods")
    assert done.exit_code == 0
    for name in ("egp", "nepenthe", "easier", "sap", "one-shot", "gradual", "layer-folding", "tlc", "fast", "press"):
        assert any(line.startswith(f"{name}: ") for line in done.output.splitlines()), name
    assert "arXiv 2404.16890" in done.output
