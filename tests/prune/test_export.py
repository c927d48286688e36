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
