"""Data from code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationDataReader

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import SourceOptions, open_source

X, SCALE = Tensor("x", ("n", 2), "float"), Tensor("scale", (), "float")
FEED = np.arange(12, dtype=np.float32).reshape(6, 2)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.feeds = iter([{"x": sample[None]} for sample in FEED])

    def get_next(self) -> Any:
        return next(self.feeds, None)


class RewindingReader(Reader):
    def rewind(self) -> None:
        self.feeds = iter([{"x": sample[None]} for sample in FEED])


@pytest.fixture(autouse=True)
def _counted_anew() -> None:
    Reader.made = RewindingReader.made = 0


def total(spec: object, batch: int = 4) -> list[float]:
    return [float(b.feeds["x"].sum()) for b in open_source(spec, [X]).batches(batch)]


def test_a_reader_is_made_anew_unless_it_can_rewind() -> None:
    for kind, made in ((Reader, 3), (RewindingReader, 1)):
        source = open_source(kind, [X])
        for _ in range(3):
            assert sum(batch.size for batch in source.batches(4)) == 6
        assert kind.made == made


def test_a_reader_that_exists_must_rewind() -> None:
    source = open_source(RewindingReader(), [X])
    assert source.name == "RewindingReader"
    assert [sum(batch.size for batch in source.batches(4)) for _ in range(2)] == [6, 6]
    with pytest.raises(UnreadableError, match="without rewind"):
        open_source(Reader(), [X])


def test_nothing_runs_before_the_first_batch() -> None:
    batches = open_source(Reader, [X]).batches(4)
    assert Reader.made == 0
    next(batches)
    assert Reader.made == 1


def test_feeds_arrays_pairs_and_a_whole_set() -> None:
    assert total(lambda: [{"x": FEED[:2]}, {"x": FEED[2:]}]) == [28.0, 38.0]
    assert total(lambda: iter([FEED])) == [28.0, 38.0]
    assert total(lambda: {"any name": FEED}) == [28.0, 38.0]
    (batch,) = open_source(lambda: [(FEED, [1] * 6)], [X]).batches(6)
    assert batch.labels is not None
    assert batch.labels.tolist() == [1] * 6
    (batch,) = open_source(lambda: [{"x": FEED, "labels": np.arange(6)}], [X]).batches(6)
    assert batch.labels is not None
    assert batch.labels.tolist() == list(range(6))


def test_feeds_that_cannot_be_cut_stay_whole() -> None:
    feeds = [{"x": FEED, "scale": np.float32(1)}, {"x": FEED[:1], "scale": np.float32(2)}]
    batches = list(open_source(lambda: feeds, [X, SCALE]).batches(4))
    assert [(batch.size, batch.whole, batch.feeds["x"].shape) for batch in batches] == [
        (1, True, (6, 2)),
        (1, True, (1, 2)),
    ]
    other = Tensor("y", ("m", 2), "float")
    (batch,) = open_source(lambda: [{"x": FEED, "y": FEED[:1]}], [X, other]).batches(4)
    assert batch.whole
    (batch,) = open_source(lambda: [FEED], [X], SourceOptions(whole_feeds=True)).batches(4)
    assert batch.whole
    (batch,) = open_source({"x": FEED}, [X], SourceOptions(whole_feeds=True)).batches(4)
    assert batch.whole


def test_where_the_shape_changes_a_batch_ends() -> None:
    text = Tensor("ids", ("n", "t"), "int64")
    feeds = [np.ones((2, 3), int), np.ones((1, 3), int), np.ones((3, 5), int), np.ones((2, 3), int)]
    shapes = [batch.feeds["ids"].shape for batch in open_source(lambda: feeds, [text]).batches(4)]
    assert shapes == [(3, 3), (3, 5), (2, 3)]


def test_torch_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (batch,) = open_source(lambda: [[torch.from_numpy(FEED), torch.arange(6)]], [X]).batches(6)
    np.testing.assert_array_equal(batch.feeds["x"], FEED)
    assert batch.labels is not None
    assert batch.labels.tolist() == list(range(6))


def fails() -> Iterator[object]:
    yield FEED
    raise OSError("disk gone\nsecond line")


def raises() -> None:
    raise ValueError("no data today\nsecond line")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (raises, "raises: the call raised ValueError: no data today$"),
        (fails, "fails: reading raised OSError: disk gone$"),
        (lambda: None, "returned NoneType, neither"),
        (lambda: [], "holds no samples"),
        (lambda: [{"y": FEED, "z": FEED}], "record 0: the model's inputs are 'x', the data have 'y', 'z'"),
        (lambda: [FEED, FEED[0]], "record 1: input 'x' has rank 2"),
        (lambda: [FEED[:0]], "record 0: holds no samples"),
        (lambda: [[[1.0, 2.0], [3.0], [4.0]]], "is no array"),
        (lambda: [FEED, (FEED, np.arange(6))], "record 1: some records have labels"),
        (lambda: [(FEED, np.arange(5))], "record 0: 6 samples but 5 labels"),
        (lambda: [FEED, FEED * np.nan], "record 1: input 'x' has NaN"),
        (lambda: [{"x": FEED.astype(np.int8)}], "takes float, the data are int8"),
    ],
)
def test_mistakes_are_one_line(spec: Any, message: str) -> None:
    with pytest.raises(UnreadableError, match=message) as caught:
        total(spec)
    assert "\n" not in str(caught.value)


def test_our_own_errors_keep_their_kind() -> None:
    def refuses() -> None:
        raise UsageError("as it is")

    def refuses_later() -> Iterator[object]:
        refuses()
        yield FEED

    for spec in (refuses, refuses_later):
        with pytest.raises(UsageError, match=r"^as it is$"):
            total(spec)


def test_several_inputs_take_mappings() -> None:
    with pytest.raises(UnreadableError, match="a model with 2 inputs takes mappings"):
        list(open_source(lambda: [FEED], [X, SCALE]).batches(1))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File of a module in the current directory, forgotten afterwards."""
    name = f"data_of_{tmp_path.name}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, name, sys)
    monkeypatch.delitem(sys.modules, name)
    return tmp_path / f"{name}.py"


def test_import_from_the_current_directory_leaves_the_path_as_it_was(module: Path) -> None:
    module.write_text("class A:\n    @staticmethod\n    def feeds():\n        yield [[1.0, 2.0]]\n")
    before = list(sys.path)
    assert total(f"{module.stem}:A.feeds") == [3.0]
    assert sys.path == before


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("raise ValueError('at import\\nmore')", "feeds", "raised ValueError: at import$"),
        ("import nothing_like_it", "feeds", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def (", "feeds", "SyntaxError"),
        ("x = 1", "feeds", "has nothing called 'feeds'"),
        ("feeds = 1", "feeds", "'feeds' is int, not callable"),
    ],
)
def test_code_that_cannot_be_used(module: Path, code: str, name: str, message: str) -> None:
    module.write_text(code)
    with pytest.raises(UsageError, match=message) as caught:
        open_source(f"{module.stem}:{name}", [X])
    assert "\n" not in str(caught.value)


def test_no_such_module() -> None:
    with pytest.raises(UsageError, match="No module named 'no_such_module'"):
        open_source("no_such_module:feeds", [X])


def test_text_that_is_neither_path_nor_callable() -> None:
    with pytest.raises(UnreadableError, match=r"C:\\data: no such file or folder, nor .*package\.module:callable"):
        open_source("C:\\data", [X])
