"""Data against the model's inputs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from onnx_nepenthe.errors import UnreadableError, UnsupportedError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.ports import (
    cast,
    check_classes,
    check_dtype,
    check_labels,
    check_shape,
    class_count,
    common_length,
    dtype_of,
    labels_name,
    match_names,
)


def port(dtype: str = "float", shape: tuple[int | str | None, ...] | None = ("n", 2), name: str = "x") -> Tensor:
    return Tensor(name, shape, dtype)


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (np.float64, "float", np.float32),
        (np.float32, "double", np.float64),
        (np.float32, "float16", np.float16),
        (np.float32, "bfloat16", ml_dtypes.bfloat16),
        (ml_dtypes.bfloat16, "float", np.float32),
        (np.int32, "int64", np.int64),
        (np.int64, "int32", np.int32),
        (np.uint64, "int8", np.int8),
        (np.bool_, "int64", np.int64),
        (np.int64, "bool", np.bool_),
    ],
)
def test_safe_casts(given: type, wanted: str, expected: type) -> None:
    result = cast(np.asarray([[0, 1]]).astype(given), port(wanted), "d")
    assert result.dtype == expected
    np.testing.assert_array_equal(result.astype(float), [[0, 1]])


def test_text_stays_text_and_an_unstated_type_is_left_alone() -> None:
    assert cast(np.asarray([["a", "b"]]), port("string"), "d").tolist() == [["a", "b"]]
    assert cast(np.ones((1, 2), np.int16), port(""), "d").dtype == np.int16


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        (np.int64, "float", "input 'x' takes float, the data are int64"),
        (np.uint8, "float", "scale the bytes as in training"),
        (np.float32, "int64", "input 'x' takes int64, the data are float32"),
        (np.float32, "bool", "takes bool"),
        (np.float32, "string", "takes string"),
        (np.str_, "float", "takes float"),
        (np.complex64, "float", "the data are complex64"),
        (np.bool_, "float", "the data are bool"),
    ],
)
def test_kinds_are_not_mixed(given: type, wanted: str, message: str) -> None:
    with pytest.raises(UnreadableError, match=f"^file.npz: .*{message}"):
        check_dtype(np.dtype(given), port(wanted), "file.npz")


@pytest.mark.parametrize(
    ("values", "wanted", "message"),
    [
        ([[1.0, np.nan]], "float", "input 'x' has NaN or infinite"),
        ([[1.0, np.inf]], "float", "input 'x' has NaN or infinite"),
        ([[1.0, 1e300]], "float", "whose range the data exceed"),
        ([[1.0, 1e6]], "float16", "whose range the data exceed"),
        ([[1, 300]], "int8", "cannot hold all"),
        ([[1, -1]], "uint64", "cannot hold all"),
        ([[1, 2]], "bool", "cannot hold all"),
    ],
)
def test_values_that_do_not_fit(values: list[list[float]], wanted: str, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        cast(np.asarray(values), port(wanted), "d")


def test_types_no_data_can_have() -> None:
    with pytest.raises(UnsupportedError, match="'x' has type int4"):
        dtype_of(port("int4"))


def test_shapes() -> None:
    check_shape((7, 2), port(shape=(1, 2)), "d")
    check_shape((7, 9), port(shape=("n", "m")), "d")
    check_shape((7, 9, 1), port(shape=None), "d")
    with pytest.raises(UnreadableError, match=r"d: input 'x' is \?x2x3, the data 5x2x4 \(axis 2 differs\)"):
        check_shape((5, 2, 4), port(shape=(None, 2, 3)), "d")
    with pytest.raises(UnreadableError, match=r"rank 2 \(nx2\), the data have rank 1 \(2\); axis 0 must hold"):
        check_shape((2,), port(), "d")
    with pytest.raises(UnreadableError, match=r"axis 0 differs"):
        check_shape((7, 2), port(shape=(1, 2)), "d", whole=True)


def test_names() -> None:
    one, two = [port(name="a")], [port(name="a"), port(name="b")]
    assert match_names(["a", "z"], one, "d") == {"a": "a"}
    assert match_names(["whatever", "labels"], one, "d") == {"a": "whatever"}
    assert match_names(["labels"], [port(name="labels")], "d") == {"labels": "labels"}
    with pytest.raises(UnreadableError, match="d: the model's inputs are 'a', 'b', the data have 'a', 'c'"):
        match_names(["a", "c", "labels"], two, "d")
    with pytest.raises(UnreadableError, match="inputs are 'a', the data have 'p', 'q'"):
        match_names(["p", "q"], one, "d")
    with pytest.raises(UnreadableError, match="the data have none"):
        match_names(["labels"], one, "d")


def test_labels() -> None:
    assert labels_name(["x", "labels"], [port()]) == "labels"
    assert labels_name(["x"], [port()]) is None
    assert labels_name(["labels"], [port(name="labels")]) is None
    assert check_labels(np.asarray([[3.0], [1.0]]), 2, "d").tolist() == [3, 1]
    with pytest.raises(UnreadableError, match="d: 3 samples but 2 labels"):
        check_labels(np.asarray([1, 2]), 3, "d")
    with pytest.raises(UnreadableError, match="one lone"):
        check_labels(np.asarray(1), 1, "d")
    for wrong in (np.asarray([0.5, 1.0]), np.asarray(["cat", "dog"]), np.asarray([np.nan, 1.0])):
        with pytest.raises(UnreadableError, match="whole class numbers"):
            check_labels(wrong, 2, "d")


def test_lengths() -> None:
    assert common_length({"a": (3, 2), "b": (3,), "c": ()}, "d") == 3
    with pytest.raises(UnreadableError, match=r"differ in their number of samples .*'a' 3, 'b' 4"):
        common_length({"a": (3, 2), "b": (4,)}, "d")
    with pytest.raises(UnreadableError, match="d: holds no samples"):
        common_length({"a": (0, 2)}, "d")


@pytest.mark.parametrize(
    ("outputs", "classes"),
    [
        ([port(shape=("n", 10))], 10),
        ([port(shape=("n", 10, 1, 1))], 10),
        ([port("int64", ("n", 7)), port(shape=("n", 3))], 3),
        ([port(shape=("n", 1))], None),
        ([port(shape=("n", "k"))], None),
        ([port(shape=("n", 10, 8, 8)), port(shape=None), port(shape=("n",))], None),
        ([], None),
    ],
)
def test_the_number_of_classes_is_that_of_the_first_scores(outputs: list[Tensor], classes: int | None) -> None:
    assert class_count(outputs) == classes


@pytest.mark.parametrize(("labels", "wrong"), [([0, 3, 1], 3), ([0, -1], -1)])
def test_labels_outside_the_classes_are_refused(labels: list[int], wrong: int) -> None:
    with pytest.raises(UnreadableError, match=f"^d.npz: label {wrong}, but the model tells 3 classes apart.*renumber"):
        check_classes(np.array(labels), 3, "d.npz")


def test_labels_with_one_column_a_class_become_class_numbers() -> None:
    assert check_classes(np.eye(3, dtype=np.int64)[[2, 0]], 3, "d").tolist() == [2, 0]
    several = np.array([[1, 1, 0], [0, 0, 1]])
    assert check_classes(several, 3, "d") is several
    other = np.ones((2, 5), np.int64)
    assert check_classes(other, 3, "d") is other
