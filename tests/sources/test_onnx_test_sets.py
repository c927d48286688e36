"""ONNX test sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import open_source

PORTS = [Tensor("a", ("n", 2), "float"), Tensor("steps", (), "int64")]


def stored(folder: Path, *arrays: object) -> Path:
    folder.mkdir(parents=True)
    for number, array in enumerate(arrays):
        tensor = onnx.numpy_helper.from_array(np.asarray(array), f"named {9 - number}")
        (folder / f"input_{number}.pb").write_bytes(tensor.SerializeToString())
    return folder


def test_each_set_is_one_whole_feed_in_the_order_of_its_number(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        stored(tmp_path / f"test_data_set_{number}", np.full((number + 1, 2), number, np.float32), np.int64(number))
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "test_data_set_x").mkdir()
    source = open_source(tmp_path, PORTS)
    batches = list(source.batches(8))
    assert source.count() == 3
    assert [int(batch.feeds["steps"]) for batch in batches] == [0, 2, 10]
    assert [batch.feeds["a"].shape for batch in batches] == [(1, 2), (3, 2), (11, 2)]
    assert all(batch.whole and batch.size == 1 and batch.labels is None for batch in batches)


def test_one_set_alone(tmp_path: Path) -> None:
    folder = stored(tmp_path / "any name", np.ones((4, 2), np.float32), np.int64(3))
    (batch,) = open_source(folder, PORTS).batches(1)
    assert batch.feeds["a"].shape == (4, 2)
    assert open_source(str(folder), PORTS).name == str(folder)


def test_a_static_first_axis_must_fit(tmp_path: Path) -> None:
    folder = stored(tmp_path / "test_data_set_0", np.ones((4, 2), np.float32))
    with pytest.raises(UnreadableError, match="input 'a' is 1x2, the data 4x2"):
        list(open_source(folder, [Tensor("a", (1, 2), "float")]).batches(1))


def test_another_type_names_the_file(tmp_path: Path) -> None:
    folder = stored(tmp_path / "test_data_set_0", np.ones((4, 2), np.int64))
    with pytest.raises(UnreadableError, match=r"input_0\.pb: input 'a' takes float, the data are int64"):
        list(open_source(folder, PORTS[:1]).batches(1))


def test_values_are_checked(tmp_path: Path) -> None:
    folder = stored(tmp_path / "test_data_set_0", np.full((1, 2), np.nan, np.float32))
    with pytest.raises(UnreadableError, match="test_data_set_0: input 'a' has NaN"):
        list(open_source(folder, PORTS[:1]).batches(1))


def test_files_and_inputs_must_be_as_many(tmp_path: Path) -> None:
    stored(tmp_path / "test_data_set_0", np.ones((1, 2), np.float32), np.int64(3))
    stored(tmp_path / "test_data_set_1", np.ones((1, 2), np.float32))
    with pytest.raises(
        UnreadableError, match=r"test_data_set_1: has input_0\.pb; the model's 2 inputs are 'a', 'steps'"
    ):
        open_source(tmp_path, PORTS)
    (tmp_path / "test_data_set_1" / "input_0.pb").unlink()
    with pytest.raises(UnreadableError, match=r"has no input_\*\.pb"):
        open_source(tmp_path, PORTS)


def test_a_broken_tensor_names_the_file(tmp_path: Path) -> None:
    folder = stored(tmp_path / "test_data_set_0", np.ones((1, 2), np.float32))
    (folder / "input_0.pb").write_bytes(b"\xff")
    with pytest.raises(UnreadableError, match=r"input_0\.pb: not an ONNX tensor"):
        list(open_source(folder, PORTS[:1]).batches(1))
