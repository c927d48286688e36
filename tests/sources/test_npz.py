"""NumPy archives."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import NepentheError, UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import SourceOptions, open_source
from onnx_nepenthe.sources import npz as module

X, SCALE = Tensor("x", ("n", 2), "float"), Tensor("scale", (), "float")
IDS, MASK = Tensor("ids", ("n", "t"), "int64"), Tensor("mask", ("n", "t"), "int64")
FEED = np.arange(12, dtype=np.float32).reshape(6, 2)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path / "data.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path / "data.npz"


def test_several_inputs_and_labels(tmp_path: Path) -> None:
    path = saved(tmp_path, mask=np.ones((6, 3), np.int32), ids=np.arange(18).reshape(6, 3), labels=np.arange(6))
    first, second = open_source(path, [IDS, MASK]).batches(4)
    assert first.feeds["mask"].dtype == np.int64
    assert second.feeds["ids"].tolist() == [[12, 13, 14], [15, 16, 17]]
    assert (first.size, second.size) == (4, 2)
    assert second.labels is not None
    assert second.labels.tolist() == [4, 5]


def test_a_scalar_input_goes_with_every_batch(tmp_path: Path) -> None:
    for batch in open_source(saved(tmp_path, x=FEED, scale=np.float32(3)), [X, SCALE]).batches(4):
        assert batch.feeds["scale"].shape == ()
        assert batch.feeds["scale"] == 3


def test_columns_first_arrays_read_the_same(tmp_path: Path) -> None:
    (batch,) = open_source(saved(tmp_path, x=np.asfortranarray(FEED)), [X]).batches(6)
    np.testing.assert_array_equal(batch.feeds["x"], FEED)


def test_opening_reads_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("read"))
    source = open_source(saved(tmp_path, x=FEED), [X])
    assert source.count() == 6
    source.batches(1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": FEED, "z": FEED}, "inputs are 'x', the data have 'y', 'z'"),
        ({"x": FEED[0]}, "rank"),
        ({"x": FEED[:, :1]}, "axis 1 differs"),
        ({"x": FEED.astype(int)}, "takes float, the data are int64"),
        ({"x": FEED[:0]}, "holds no samples"),
        ({"x": FEED, "labels": np.arange(5)}, "6 samples but 5 labels"),
        ({"x": FEED, "labels": np.asarray(1)}, "6 samples but one lone labels"),
        ({"x": FEED, "labels": np.full(6, 0.5)}, "whole class numbers"),
        ({"x": np.where(FEED == 5, np.nan, FEED)}, "input 'x' has NaN"),
        ({"x": FEED.astype(object)}, "'x' holds Python objects"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, **arrays)
    with pytest.raises(UnreadableError, match=message) as caught:
        list(open_source(path, [X]).batches(4))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_inputs_of_different_length(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="'ids' 6, 'mask' 5"):
        open_source(saved(tmp_path, ids=np.ones((6, 3), int), mask=np.ones((5, 3), int)), [IDS, MASK])


def test_damaged_files(tmp_path: Path) -> None:
    whole = saved(tmp_path, x=FEED).read_bytes()
    broken = tmp_path / "broken.npz"
    for data in (b"", b"nothing", whole[: len(whole) // 2]):
        broken.write_bytes(data)
        with pytest.raises(UnreadableError, match=r"broken.npz: not a readable \.npz file"):
            open_source(broken, [X])
    with pytest.raises(UnreadableError, match="not a readable"):
        open_source(zipped(tmp_path, x=b"no npy"), [X])
    with pytest.raises(UnreadableError, match="'x' is cut off"):
        open_source(zipped(tmp_path, x=npy(FEED)[:-4]), [X])
    with pytest.raises(UnreadableError, match=r"unknown \.npy version"):
        open_source(zipped(tmp_path, x=b"\x93NUMPY\x09\x00" + npy(FEED)[8:]), [X])


def test_headers_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header of gigabytes would be unpacked before anybody looks at it."""
    bomb = b"\x93NUMPY\x02\x00" + (1 << 24).to_bytes(4, "little") + b" " * (1 << 24)
    with pytest.raises(UnreadableError, match="a header of 16,777,216 bytes"):
        open_source(zipped(tmp_path, x=bomb), [X])
    data = npy(FEED)
    with pytest.raises(UnreadableError, match=r"the shape \(-6, -2\)"):
        open_source(zipped(tmp_path, x=data.replace(b"(6, 2), }  ", b"(-6, -2), }")), [X])
    monkeypatch.setattr(module, "MOST_ARRAYS", 1)
    with pytest.raises(UnreadableError, match="2 arrays in it"):
        open_source(saved(tmp_path, x=FEED, y=FEED), [X])


class Payload:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    objects = np.array([Payload(trap)], object)
    for path in (saved(tmp_path, x=objects), zipped(tmp_path, x=pickle.dumps(objects))):
        with pytest.raises(UnreadableError, match=r"never unpickled|not a readable"):
            list(open_source(path, [X]).batches(1))
    (tmp_path / "data.npz").write_bytes(pickle.dumps(objects))
    with pytest.raises(UnreadableError, match="not a readable"):
        open_source(tmp_path / "data.npz", [X])
    assert not trap.exists()


def test_a_flipped_byte_is_found_when_reading(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.ones((100_000, 2), np.float32))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    source = open_source(path, [X])
    with pytest.raises(UnreadableError, match="not a readable"):
        list(source.batches(6))


def test_an_archive_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((100_000, 2), np.float32))
    monkeypatch.setattr(module, "_free_bytes", lambda: 1_000_000)
    with pytest.raises(UnreadableError, match=r"unpacks to 0\.0 GiB, more than half of the free memory"):
        open_source(path, [X])
    monkeypatch.setattr(module, "_free_bytes", lambda: 2_000_000)
    assert open_source(path, [X]).count() == 100_000


def test_free_memory_is_plausible_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise OSError

    assert 2**20 < module._free_bytes() < 2**50
    monkeypatch.setattr(Path, "read_text", missing)
    assert 2**20 < module._free_bytes() < 2**50
    monkeypatch.setattr("os.sysconf", missing, raising=False)
    assert module._free_bytes() == 8 * 2**30


def test_missing_files_and_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"none\.npz: no such file"):
        open_source(tmp_path / "none.npz", [X])
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(UnreadableError, match=r"data\.csv: not a \.npz file"):
        open_source(tmp_path / "data.csv", [X])
    with pytest.raises(UnreadableError, match="neither images nor test_data_set"):
        open_source(tmp_path, [X])
    with pytest.raises(UnreadableError, match="data of type int cannot be read"):
        open_source(3, [X])
    with pytest.raises(NepentheError, match="no inputs"):
        open_source(tmp_path, [])


def test_an_open_source_is_returned_as_it_is(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path, x=FEED), [X], SourceOptions(seed=4))
    assert open_source(source, [X]) is source


def test_one_sample_calibrates_and_none_verifies(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path, x=FEED[:1]), [X])
    assert [batch.size for batch in source.batches(4, "calibration")] == [1]
    assert list(source.batches(4, "verification")) == []
