"""Arrays that the caller holds."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import open_source

X, SCALE = Tensor("x", ("n", 2), "float"), Tensor("scale", (), "float")
FEED = np.arange(12, dtype=np.float32).reshape(6, 2)


def test_the_callers_arrays_are_not_shared() -> None:
    (batch,) = open_source({"x": FEED}, [X]).batches(6)
    assert not np.shares_memory(batch.feeds["x"], FEED)


def test_a_scalar_goes_with_every_batch() -> None:
    batches = list(open_source({"x": FEED, "scale": 2.0}, [X, SCALE]).batches(4))
    assert [(batch.size, float(batch.feeds["scale"])) for batch in batches] == [(4, 2.0), (2, 2.0)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"x": FEED, "labels": [1]}, "6 samples but 1 labels"),
        ({"x": FEED[:0]}, "holds no samples"),
        ({"a": FEED, "b": FEED}, "inputs are 'x', the data have 'a', 'b'"),
        ({"x": [["a", "b"]]}, "takes float"),
        (iter([FEED]), "only once"),
        (b"bytes", "data of type bytes cannot be read"),
    ],
)
def test_mistakes(spec: object, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        open_source(spec, [X])


def test_a_bare_array_needs_a_model_with_one_input() -> None:
    with pytest.raises(UnreadableError, match="the model has 2 inputs; give a mapping"):
        open_source(FEED, [X, SCALE])


def test_an_empty_list_has_no_samples() -> None:
    with pytest.raises(UnreadableError, match="the given feeds: holds no samples"):
        list(open_source([], [X]).batches(1))
