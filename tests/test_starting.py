"""However a model is handed to onnxruntime, the same numbers come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import starting
from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph import serial
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.session import SessionConfig, open_session
from tests.helpers.build import Builder
from tests.helpers.large import convolutions, perceptron

OFF, ON = SessionConfig(optimise=False), SessionConfig(optimise=True)


def network(dtype: str = "float") -> onnx.ModelProto:
    """Weights of 900 numbers, and an If with one of its own."""
    g = Builder(np.random.default_rng(0), dtype=dtype)
    return g.model({"x": [2, 30]}, [g.gemm(g.node("Sigmoid", g.gemm("x", (30, 30))), (30, 30))])


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every model for one above 1.5 GiB."""
    monkeypatch.setattr(starting, "MESSAGE_BYTES", 100)
    monkeypatch.setattr(serial, "LARGEST_MESSAGE_BYTES", 100)


def outputs(model: ir.Model | Path, config: SessionConfig) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((2, 30))
    (found,) = open_session(model, config).run({"x": x.astype(np.float32)})
    return found


@pytest.mark.parametrize("config", [OFF, ON], ids=["off", "on"])
def test_large_models_in_memory(config: SessionConfig, request: pytest.FixtureRequest) -> None:
    model = ir.from_proto(network())
    expected = outputs(model, config)
    request.getfixturevalue("large")
    np.testing.assert_allclose(outputs(model, config), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", [OFF, ON], ids=["off", "on"])
def test_large_models_from_files(tmp_path: Path, config: SessionConfig, request: pytest.FixtureRequest) -> None:
    onnx.save(network(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    model = load(tmp_path / "m.onnx")
    expected = outputs(model, config)
    request.getfixturevalue("large")
    np.testing.assert_allclose(outputs(model, config), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("large")
def test_the_optimised_session_of_a_file_reads_that_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(network(), path)
    model = load(path)
    path.unlink()
    with pytest.raises(UnreadableError, match="was changed or removed while this ran"):
        open_session(model, ON)
    outputs(model.clone(), ON)


def test_models_of_middling_size_go_as_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "MESSAGE_BYTES", 100)
    model = ir.from_proto(network())
    np.testing.assert_allclose(outputs(model, ON), outputs(model, OFF), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_other_types_are_lent_too(dtype: str, request: pytest.FixtureRequest) -> None:
    model = ir.from_proto(network(dtype))
    x = np.ones((2, 30), {"double": np.float64, "float16": np.float16}[dtype])
    (expected,) = open_session(model, OFF).run({"x": x})
    request.getfixturevalue("large")
    (found,) = open_session(model, OFF).run({"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_what_is_lent_is_not_in_the_message() -> None:
    message, lent = serial.without_weights(ir.from_proto(network()))
    assert len(message) < 1200
    assert {array.size for array in lent.values()} == {900}


def test_weights_that_are_not_lent_cannot_be_read(tmp_path: Path) -> None:
    """A session that looked for weights in a file would find an empty one."""
    message, _ = serial.without_weights(ir.from_proto(network()))
    (tmp_path / "m.onnx").write_bytes(message)
    (tmp_path / serial.NO_WEIGHTS).touch()
    with pytest.raises((UnreadableError, Exception), match="cannot run"):
        open_session(tmp_path / "m.onnx", OFF)


@pytest.mark.parametrize("make", [perceptron, convolutions])
def test_large_test_models_are_what_they_say(tmp_path: Path, make: object) -> None:
    sizes = {"width": 32} if make is perceptron else {"channels": 16}
    make(tmp_path / "m.onnx", 40_000, **sizes)  # type: ignore[operator]
    model = load(tmp_path / "m.onnx")
    assert serial.weight_bytes(model) >= 40_000
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
