"""Export: dynamic batch, equal to torch, nothing written that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_nepenthe.errors import UnreadableError, UnsupportedError, VerificationError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnxruntime  # noqa: E402
from torch import nn  # noqa: E402

from onnx_nepenthe.prune.export import export  # noqa: E402


def run(path: Path, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result: np.ndarray[Any, Any] = session.run(None, {"input": inputs})[0]
    return result


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(16, 3)
    )


def test_the_file_agrees_with_torch_for_every_batch_and_says_how_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = net().train()
    agreement = export(model, torch.rand(2, 1, 4, 4), path, run=run, metadata={"method": "egp", "rounds": [1, 2]})
    assert agreement.difference <= 1e-5
    assert model.training
    inputs = torch.rand(5, 1, 4, 4)
    with torch.no_grad():
        wanted = model.eval()(inputs).numpy()
    np.testing.assert_allclose(run(path, inputs.numpy()), wanted, atol=1e-5)
    written = onnx.load(path)
    onnx.checker.check_model(written)
    props = {prop.key: json.loads(prop.value) for prop in written.metadata_props}
    assert props == {"onnx_nepenthe.method": "egp", "onnx_nepenthe.rounds": [1, 2]}
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x))) + x


@pytest.mark.parametrize(
    ("keep_norms", "names"),
    [(False, ["conv", "act", "add"]), (True, ["conv", "norm", "act", "add"])],
)
def test_operators_are_called_after_their_modules(keep_norms: bool, names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    blocks = nn.Sequential(Block(), Block())
    export(blocks, torch.rand(2, 2, 4, 4), path, run=run, opset=18, keep_norms=keep_norms, output="maps")
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert [node.name for node in written.graph.node] == [f"{block}.{name}" for block in (0, 1) for name in names]
    results = [value for node in written.graph.node for value in node.output]
    assert results == [*(f"{node.name}.output" for node in written.graph.node[:-1]), "maps"]
    assert {node.domain for node in written.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in written.opset_import] == [("", 18)]


def test_a_name_that_would_occur_twice_gets_a_number(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.Module()
            self.act.output = nn.Parameter(torch.ones(3))
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.relu(x) - self.act.output) * self.act.output.exp()

    path = tmp_path / "net.onnx"
    export(Twice(), torch.rand(2, 3), path, run=run)
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert [node.name for node in written.graph.node if node.op_type == "Relu"] == ["relu.relu", "relu.relu_2"]


def test_nothing_of_the_machine_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export(net(), torch.rand(2, 1, 4, 4), path, run=run)
    assert b".py" not in path.read_bytes()
    assert b"torch.nn" not in path.read_bytes()


@pytest.mark.parametrize("shift", [1.0, float("nan")])
def test_a_file_that_disagrees_is_not_written_and_an_old_one_stays(tmp_path: Path, shift: float) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    with pytest.raises(VerificationError, match="differs from torch"):
        export(net(), torch.rand(2, 1, 4, 4), path, run=lambda file, x: run(file, x) + np.float32(shift))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_network_that_the_exporter_cannot_handle_is_refused_in_one_line(tmp_path: Path, capfd: Any) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match="cannot be exported") as caught:
        export(Branching(), torch.rand(2, 3), tmp_path / "net.onnx", run=run)
    assert "\n" not in str(caught.value)
    assert "data-dependent" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"missing/net\.onnx: cannot be written"):
        export(net(), torch.rand(2, 1, 4, 4), tmp_path / "missing" / "net.onnx", run=run)
