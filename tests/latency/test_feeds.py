"""Random feeds: shapes, types, ranges, refusals."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.latency.feeds import random_feeds
from onnx_nepenthe.opview import Tensor


def draw(*ports: Tensor, seed: int = 0, **options: object) -> dict[str, np.ndarray]:
    return random_feeds(ports, options.pop("dims", {}), np.random.default_rng(seed), **options)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), ()),
        ((2, 3), (2, 3)),
        (("n", 5), (1, 5)),
        ((None, None, None, None), (1, 3, 224, 224)),
        (("n", "length", 8), (1, 64, 8)),
        (("n", "n"), (1, 1)),
    ],
)
def test_unknown_sizes_have_stated_defaults(shape: tuple[int | str | None, ...], expected: tuple[int, ...]) -> None:
    assert draw(Tensor("x", shape))["x"].shape == expected


def test_named_sizes_are_shared_between_inputs_and_can_be_given() -> None:
    found = draw(Tensor("x", ("n", "t")), Tensor("y", (4, "t")), dims={"t": 7})
    assert (found["x"].shape, found["y"].shape) == ((1, 7), (4, 7))


def test_a_callers_dims_are_not_changed() -> None:
    dims: dict[str, int] = {}
    draw(Tensor("x", ("n",)), dims=dims)
    assert dims == {}


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float", np.float32),
        ("float16", np.float16),
        ("double", np.float64),
        ("bfloat16", ml_dtypes.bfloat16),
        ("int64", np.int64),
        ("uint8", np.uint8),
        ("bool", np.bool_),
    ],
)
def test_types(dtype: str, expected: type) -> None:
    assert draw(Tensor("x", (50,), dtype))["x"].dtype == expected


def test_floats_are_normal_and_integers_small() -> None:
    found = draw(Tensor("x", (10_000,)), Tensor("i", (100,), "int64"))
    assert abs(found["x"].mean()) < 0.05
    assert found["x"].std() == pytest.approx(1.0, abs=0.05)
    assert set(found["i"].tolist()) == {0, 1}


def test_declared_ranges_hold() -> None:
    ranges = {"x": (2.0, 3.0), "i": (0.0, 255.0)}
    found = draw(Tensor("x", (1000,)), Tensor("i", (5000,), "uint8"), ranges=ranges)
    assert found["x"].min() >= 2.0
    assert found["x"].max() <= 3.0
    assert (found["i"].min(), found["i"].max()) == (0, 255)


def test_equal_seeds_draw_equal_values() -> None:
    x = Tensor("x", (9,))
    np.testing.assert_array_equal(draw(x, seed=4)["x"], draw(x, seed=4)["x"])
    assert not np.array_equal(draw(x, seed=4)["x"], draw(x, seed=5)["x"])


@pytest.mark.parametrize("dtype", ["string", "seq(tensor(float))", "", "float8e4m3fn"])
def test_types_that_cannot_be_drawn_are_named(dtype: str) -> None:
    with pytest.raises(UnsupportedError, match="input words has type"):
        draw(Tensor("words", (1,), dtype))


def test_an_unknown_rank_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="input x declares no shape"):
        draw(Tensor("x", None))
