"""Weights in data files: shared, as they were, and copied without being looked at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph import mapping
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.mapping import DataFile, Mapped, origin_of
from onnx_nepenthe.graph.save import save
from onnx_nepenthe.graph.serial import digest, page_out

DATA_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64, TensorProto.INT4)


def stored(folder: Path, weights: list[onnx.TensorProto], name: str = "m.onnx") -> Path:
    """A model with these weights in a file; each is an output."""
    ports = [helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims) for weight in weights]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    relu = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([relu], "g", [x], [helper.make_tensor_value_info("y", 1, [1]), *ports], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / name, save_as_external_data=True, location=f"{name}.data", size_threshold=0)
    return folder / name


def floats(name: str, size: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.random.default_rng(len(name)).standard_normal(size).astype(np.float32), name)


@pytest.fixture(params=[1 << 26, 0], ids=["read", "mapped"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(mapping, "LARGEST_READ_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("data_type", DATA_TYPES, ids=TensorProto.DataType.Name)
@pytest.mark.usefixtures("limit")
def test_numbers_of_every_width(tmp_path: Path, data_type: int) -> None:
    typed = helper.make_tensor("w", data_type, [3, 5], list(range(-7, 8)))
    weight = helper.make_tensor("w", data_type, [3, 5], ir.serde.TensorProtoTensor(typed).tobytes(), raw=True)
    path = stored(tmp_path, [floats("before", 3), weight])
    tensor = load(path).graph.initializers["w"].const_value
    assert isinstance(tensor, Mapped)
    expected = ir.serde.TensorProtoTensor(weight).numpy()
    np.testing.assert_array_equal(tensor.numpy().astype(np.float32), expected.astype(np.float32))
    np.testing.assert_array_equal(np.array(tensor, dtype=np.float32), expected.astype(np.float32))
    with (tmp_path / "copy").open("w+b") as file:
        file.write(b"behind this: ")
        tensor.tofile(file)
        file.seek(13)
        assert file.read() == tensor.tobytes() == ir.serde.TensorProtoTensor(weight).tobytes()


@pytest.mark.usefixtures("limit")
def test_an_empty_file_and_an_empty_tensor(tmp_path: Path) -> None:
    path = stored(tmp_path, [numpy_helper.from_array(np.zeros((0, 3), np.float32), "w")])
    tensor = load(path).graph.initializers["w"].const_value
    assert tensor is not None
    assert tensor.numpy().shape == (0, 3)
    assert tensor.tobytes() == b""


def test_one_handle_for_any_number_of_weights(tmp_path: Path) -> None:
    path = stored(tmp_path, [floats(f"w{at}", 300) for at in range(50)])
    handles = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    loaded = load(path)
    files = {value.const_value.file for value in loaded.graph.initializers.values()}  # type: ignore[union-attr]
    assert len(files) == 1
    if handles:
        assert len(os.listdir("/proc/self/fd")) <= handles + 2


def test_without_help_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path, [floats("w", 5000)])
    loaded = load(path)
    for name in ("copy_file_range", "pread"):
        monkeypatch.delattr(os, name, raising=False)
    save(loaded, tmp_path / "out.onnx")
    assert digest(load(tmp_path / "out.onnx")) == digest(loaded)


def test_a_kernel_that_copies_only_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "copy_file_range"):
        pytest.skip("no such call")
    real, calls = os.copy_file_range, []

    def little(source: int, target: int, count: int, **offsets: int) -> int:
        calls.append(count)
        if len(calls) == 3:
            raise OSError(18, "Invalid cross-device link")
        return real(source, target, min(count, 1000), **offsets)

    path = stored(tmp_path, [floats("w", 5000)])
    loaded = load(path)
    monkeypatch.setattr(os, "copy_file_range", little)
    save(loaded, tmp_path / "out.onnx")
    assert len(calls) == 3
    assert digest(load(tmp_path / "out.onnx")) == digest(loaded)


def test_memory_is_given_back_and_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "LARGEST_READ_BYTES", 0)
    loaded = load(stored(tmp_path, [floats("w", 50_000)]))
    before = digest(loaded)
    page_out(loaded)
    assert digest(loaded) == before


def test_the_origin_is_of_what_was_read_alone(tmp_path: Path) -> None:
    path = stored(tmp_path, [floats("w", 300)])
    loaded = load(path)
    assert origin_of(loaded) == path
    assert origin_of(loaded.clone()) is None
    path.write_bytes(path.read_bytes() + b"")
    os.utime(path, (1, 1))
    with pytest.raises(UnreadableError, match=r"m\.onnx was changed or removed while this ran; nothing was written"):
        origin_of(loaded)


def test_a_data_file_that_goes_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> DataFile:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(mapping, "DataFile", gone)
    with pytest.raises(UnreadableError, match=r"'m\.onnx\.data' cannot be read: No such file"):
        load(stored(tmp_path, [floats("w", 300)]))


def test_tensors_of_attributes_are_shared_too(tmp_path: Path) -> None:
    node = helper.make_node("Constant", [], ["y"], value=floats("w", 300))
    port = helper.make_tensor_value_info("y", TensorProto.FLOAT, [300])
    graph = helper.make_graph([node], "g", [], [port])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    (found,) = load(tmp_path / "m.onnx").graph
    assert isinstance(found.attributes["value"].value, Mapped)
