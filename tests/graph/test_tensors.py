"""Tensors in files."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph.tensors import read_tensor


def stored(path: Path, tensor: onnx.TensorProto) -> Path:
    path.write_bytes(tensor.SerializeToString())
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.bool_, np.uint8, ml_dtypes.bfloat16])
def test_it_comes_back(tmp_path: Path, dtype: type) -> None:
    array = np.asarray([[0, 1], [1, 1]]).astype(dtype)
    read = read_tensor(stored(tmp_path / "t.pb", onnx.numpy_helper.from_array(array)))
    assert read.dtype == dtype
    assert read.tobytes() == array.tobytes()


def test_scalars_and_text(tmp_path: Path) -> None:
    assert read_tensor(stored(tmp_path / "t.pb", onnx.numpy_helper.from_array(np.float32(2)))).shape == ()
    text = onnx.helper.make_tensor("t", onnx.TensorProto.STRING, [2], [b"a", b"b"])
    assert read_tensor(stored(tmp_path / "s.pb", text)).tolist() == ["a", "b"]


def test_files_that_are_no_tensor(tmp_path: Path) -> None:
    path = tmp_path / "input_0.pb"
    with pytest.raises(UnreadableError, match=r"input_0\.pb: cannot be read \(No such file"):
        read_tensor(path)
    path.write_bytes(b"\xff\xff\xff")
    with pytest.raises(UnreadableError, match=r"input_0\.pb: not an ONNX tensor"):
        read_tensor(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableError, match="not a complete ONNX tensor"):
        read_tensor(path)
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32))
    tensor.dims[0] = 5
    with pytest.raises(UnreadableError, match="not a complete ONNX tensor"):
        read_tensor(stored(path, tensor))


def test_data_in_another_file_are_refused(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    with pytest.raises(UnreadableError, match="in a further file"):
        read_tensor(stored(tmp_path / "t.pb", tensor))
