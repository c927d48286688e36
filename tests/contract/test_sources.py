"""What every data source keeps, whatever it reads: one row per registered source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from onnx_nepenthe.errors import NepentheError, UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import SOURCES, Batch, Source, SourceOptions, open_source
from onnx_nepenthe.sources.split import PARTS, Part, part_size, split

Array = npt.NDArray[Any]
PORTS = (Tensor("x", ("n", 3, 4, 4), "float"),)
WRONG_RANK = (Tensor("x", ("n", 48), "float"),)
SAMPLES = 13
BYTES = np.random.default_rng(7).integers(0, 256, (SAMPLES, 4, 4, 3), dtype=np.uint8)
FEED = np.ascontiguousarray((BYTES / 255.0).astype(np.float32).transpose(0, 3, 1, 2))
LABELS = np.sort(np.arange(SAMPLES) % 3)


def npz(folder: Path) -> object:
    np.savez(folder / "data.npz", x=FEED, labels=LABELS)
    return folder / "data.npz"


def npz_compressed(folder: Path) -> object:
    np.savez_compressed(folder / "data.npz", other_name=FEED.astype(np.float64), labels=LABELS.astype(np.uint8))
    return str(folder / "data.npz")


def class_folders(folder: Path) -> object:
    for number, (image, label) in enumerate(zip(BYTES, LABELS, strict=True)):
        (folder / f"class {label}").mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"class {label}" / f"{number:03}.png")
    return folder


def flat_images(folder: Path) -> object:
    for number, image in enumerate(BYTES):
        Image.fromarray(image).save(folder / f"{number:03}.PNG")
    return folder


def test_sets(folder: Path) -> object:
    for number, sample in enumerate(FEED):
        (folder / f"test_data_set_{number}").mkdir()
        tensor = onnx.numpy_helper.from_array(sample[None], "whatever")
        (folder / f"test_data_set_{number}" / "input_0.pb").write_bytes(tensor.SerializeToString())
    return folder


test_sets.__test__ = False  # type: ignore[attr-defined]


class Reader:
    """As onnxruntime.quantization.CalibrationDataReader asks for; two samples at a time."""

    def __init__(self) -> None:
        self.at = 0

    def get_next(self) -> dict[str, Array] | None:
        self.at += 2
        feed = FEED[self.at - 2 : self.at]
        return {"x": feed} if len(feed) else None


class RewindingReader(Reader):
    def rewind(self) -> None:
        self.at = 0


def pairs() -> Iterator[tuple[dict[str, Array], Array]]:
    for start in range(0, SAMPLES, 3):
        yield {"x": FEED[start : start + 3]}, LABELS[start : start + 3]


def from_module(folder: Path) -> object:
    np.save(folder / "feed.npy", FEED)
    code = f"import numpy as np\n\ndef feeds():\n    for sample in np.load({str(folder / 'feed.npy')!r}):\n"
    (folder / "my_calibration.py").write_text(f"{code}        yield {{'x': sample[None]}}\n")
    return "my_calibration:feeds"


@dataclass(frozen=True)
class Row:
    make: Callable[[Path], object]
    labels: bool = True
    counted: bool = True
    whole: bool = False


ROWS: Mapping[str, Sequence[Row]] = {
    "npz": (Row(npz), Row(npz_compressed)),
    "images": (Row(class_folders), Row(flat_images, labels=False)),
    "onnx_test_sets": (Row(test_sets, labels=False, whole=True),),
    "python": (
        Row(lambda _: Reader, labels=False, counted=False),
        Row(lambda _: RewindingReader, labels=False, counted=False),
        Row(lambda _: RewindingReader(), labels=False, counted=False),
        Row(lambda _: pairs, counted=False),
        Row(from_module, labels=False, counted=False),
    ),
    "memory": (
        Row(lambda _: {"x": FEED, "labels": LABELS}),
        Row(lambda _: FEED, labels=False),
        Row(lambda _: list(pairs()), counted=False),
    ),
}
OUTPUTS = (Tensor("boxes", ("n", 4, 9), "float"), Tensor("logits", ("n", 3), "float"))
CASES = [pytest.param(name, row, id=f"{name}-{at}") for name, rows in ROWS.items() for at, row in enumerate(rows)]


def test_every_registered_source_has_a_row() -> None:
    assert set(ROWS) == set(SOURCES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the test; modules imported from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "my_calibration", None)
    monkeypatch.delitem(__import__("sys").modules, "my_calibration")
    return tmp_path


def gathered(batches: Iterator[Batch]) -> tuple[Array, Array | None, list[int]]:
    """(all samples, all labels, sizes)."""
    listed = list(batches)
    if not listed:
        return FEED[:0], None, []
    labels = [batch.labels for batch in listed if batch.labels is not None]
    feeds = np.concatenate([batch.feeds["x"] for batch in listed])
    return feeds, np.concatenate(labels) if labels else None, [batch.size for batch in listed]


def opened(row: Row, folder: Path, **options: Any) -> Source:
    return open_source(row.make(folder), PORTS, SourceOptions(**options))


@pytest.mark.parametrize(("name", "row"), CASES)
def test_one_entry_accepts_it(name: str, row: Row, folder: Path) -> None:
    spec = row.make(folder)
    assert [entry for entry in SOURCES if SOURCES[entry].accepts(spec)] == [name]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_the_content_is_the_same_everywhere_and_every_time(name: str, row: Row, folder: Path) -> None:
    source = opened(row, folder)
    for _ in range(2):
        feeds, labels, _ = gathered(source.batches(4))
        assert feeds.dtype == np.float32
        np.testing.assert_array_equal(feeds, FEED)
        assert (labels is None) == (not row.labels)
        if labels is not None:
            assert labels.dtype == np.int64
            np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_pass_that_was_left_does_not_spoil_the_next(name: str, row: Row, folder: Path) -> None:
    source = opened(row, folder)
    next(source.batches(2))
    np.testing.assert_array_equal(gathered(source.batches(5))[0], FEED)


@pytest.mark.parametrize(("name", "row"), CASES)
def test_parts_are_disjoint_complete_and_the_same_in_every_source(name: str, row: Row, folder: Path) -> None:
    source = opened(row, folder, seed=3)
    for part in PARTS[1:]:
        feeds, labels, _ = gathered(source.batches(4, part))
        expected = list(split(range(SAMPLES), part, 3))
        assert len(expected) == part_size(SAMPLES, part) > 0
        np.testing.assert_array_equal(feeds, FEED[expected])
        if labels is not None:
            np.testing.assert_array_equal(labels, LABELS[expected])


@pytest.mark.parametrize(("name", "row"), CASES)
@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_batches_are_as_large_as_asked_and_hold_the_same(name: str, row: Row, folder: Path, batch: int) -> None:
    feeds, _, sizes = gathered(opened(row, folder).batches(batch))
    np.testing.assert_array_equal(feeds, FEED)
    if row.whole:
        assert sizes == [1] * SAMPLES
    else:
        assert sizes == [min(batch, SAMPLES - start) for start in range(0, SAMPLES, batch)]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_count_and_limits(name: str, row: Row, folder: Path) -> None:
    source = opened(row, folder)
    assert source.count() == (SAMPLES if row.counted else None)
    assert source.name
    limits: tuple[tuple[Part, int], ...] = (("all", 6), ("calibration", 4), ("verification", 2), ("all", 99))
    for part, limit in limits:
        feeds, _, _ = gathered(source.batches(3, part, limit))
        allowed = {sample.tobytes() for sample in FEED[list(split(range(SAMPLES), part, 0))]}
        assert len(feeds) == len({sample.tobytes() for sample in feeds}) == min(limit, len(allowed))
        assert {sample.tobytes() for sample in feeds} <= allowed


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_limited_source_is_a_smaller_set(name: str, row: Row, folder: Path) -> None:
    source = opened(row, folder, limit=6)
    assert source.count() == (6 if row.counted else None)
    parts = [gathered(source.batches(4, part))[0] for part in ("all", "calibration", "verification")]
    assert [len(part) for part in parts] == [6, 4, 2]
    together = {sample.tobytes() for part in parts[1:] for sample in part}
    assert together == {sample.tobytes() for sample in parts[0]}


@pytest.mark.parametrize(("name", "row"), CASES)
def test_data_that_do_not_fit_the_model_are_told_in_one_line(name: str, row: Row, folder: Path) -> None:
    spec = row.make(folder)
    with pytest.raises(NepentheError) as caught:
        list(open_source(spec, WRONG_RANK, SourceOptions()).batches(1))
    message = str(caught.value)
    assert "'x'" in message
    assert "rank" in message
    assert "\n" not in message


@pytest.mark.parametrize(("name", "row"), CASES)
def test_the_type_is_the_models(name: str, row: Row, folder: Path) -> None:
    ports = (replace(PORTS[0], dtype="float16"),)
    feeds, _, _ = gathered(open_source(row.make(folder), ports, SourceOptions()).batches(4))
    assert feeds.dtype == np.float16
    np.testing.assert_array_equal(feeds, FEED.astype(np.float16))


@pytest.mark.parametrize(("name", "row"), CASES)
def test_no_batch_below_one_and_no_unknown_part(name: str, row: Row, folder: Path) -> None:
    source = opened(row, folder)
    with pytest.raises(NepentheError, match="batch size must be at least 1"):
        source.batches(0)
    with pytest.raises(NepentheError, match="limit of samples must be at least 1"):
        source.batches(1, limit=0)
    with pytest.raises(NepentheError, match="no part of the data is called 'test'"):
        source.batches(1, "test")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_labels_of_classes_the_model_has_not_got_are_refused_by_name(name: str, row: Row, folder: Path) -> None:
    source = open_source(row.make(folder), PORTS, outputs=OUTPUTS)
    assert source.classes == 3
    assert sum(batch.size for batch in source.batches(4)) == SAMPLES
    source.classes = 2
    if not row.labels:
        assert sum(batch.size for batch in source.batches(4)) == SAMPLES
        return
    with pytest.raises(UnreadableError, match="label 2, but the model tells 2 classes apart") as caught:
        list(source.batches(4))
    assert str(caught.value).startswith(source.name)
