"""Reading ahead changes when data are read, never what comes."""

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import SourceOptions, open_source
from onnx_nepenthe.sources.ahead import Quiet, mapped_ahead

PORT = Tensor("x", ("N", 2), "float")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers: int) -> None:
    assert list(mapped_ahead(lambda v: v * v, range(20), workers)) == [v * v for v in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_where_its_result_would(workers: int) -> None:
    def inverse(value: int) -> float:
        return 1 / (value - 3)

    results = mapped_ahead(inverse, range(9), workers)
    assert [next(results) for _ in range(3)] == [-1 / 3, -1 / 2, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_more_than_the_workers_are_ahead() -> None:
    drawn: list[int] = []

    def values() -> Any:
        for value in range(100):
            drawn.append(value)
            yield value

    results = mapped_ahead(lambda v: v, values(), 2)
    for taken in range(1, 10):
        next(results)
        assert len(drawn) <= taken + 2
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) < 100


def test_values_are_read_in_other_threads() -> None:
    names = set(mapped_ahead(lambda _: threading.current_thread().name, range(5), 1))
    assert names == {"onnx-nepenthe-data_0"}


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_source_gives_the_same_batches(workers: int, tmp_path: Path) -> None:
    x, labels = np.random.default_rng(0).normal(size=(23, 2)).astype(np.float32), np.arange(23)
    np.savez(tmp_path / "d.npz", x=x, labels=labels)
    source = open_source(str(tmp_path / "d.npz"), [PORT], SourceOptions(workers=workers))
    for _ in range(2):
        batches = list(source.batches(4))
        assert [batch.size for batch in batches] == [4] * 5 + [3]
        np.testing.assert_array_equal(np.concatenate([batch.feeds["x"] for batch in batches]), x)
        np.testing.assert_array_equal(np.concatenate([b.labels for b in batches if b.labels is not None]), labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named(workers: int, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for at in range(6):
        image.new("RGB", (4, 4)).save(tmp_path / f"{at}.png")
    (tmp_path / "4.png").write_bytes(b"no image")
    port = Tensor("x", ("N", 3, 4, 4), "float")
    batches = open_source(str(tmp_path), [port], SourceOptions(workers=workers)).batches(2)
    assert next(batches).size == next(batches).size == 2
    with pytest.raises(UnreadableError, match=r"4\.png: not a readable image"):
        next(batches)


def test_nan_is_named_whoever_reads_it() -> None:
    x = np.ones((4, 2), np.float32)
    x[3, 1] = np.nan
    with pytest.raises(UnreadableError, match="input 'x' has NaN or infinite values"):
        list(open_source({"x": x}, [PORT], SourceOptions(workers=2)).batches(2))


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be negative"):
        SourceOptions(workers=-1)


def test_quiet_restores_the_filters_whichever_thread_leaves_last() -> None:
    before, quiet = list(warnings.filters), Quiet()
    quiet.__enter__()
    other = threading.Thread(target=quiet.__enter__)
    other.start()
    other.join()
    quiet.__exit__()
    warnings.warn("not heard", stacklevel=1)
    quiet.__exit__()
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
