import numpy as np
import pytest

from onnx_nepenthe.graph.constants import LARGEST_ELEMENTS, fold_constant
from onnx_nepenthe.opview import OpView, Tensor


def const(values, dtype=None):
    array = np.asarray(values, dtype)
    return Tensor("c", tuple(array.shape), str(array.dtype), array)


def op(op_type, *inputs, **attributes):
    return OpView(op_type, inputs=inputs, attributes=attributes)


ARRAY = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
FOLDED = {
    "value": (op("Constant", value=ARRAY), ARRAY),
    "value_float": (op("Constant", value_float=1.5), np.float32(1.5)),
    "value_floats": (op("Constant", value_floats=[1.5, 2.0]), np.array([1.5, 2], np.float32)),
    "value_int": (op("Constant", value_int=3), np.int64(3)),
    "value_ints": (op("Constant", value_ints=[3, 4]), np.array([3, 4], np.int64)),
    "no value_ints": (op("Constant", value_ints=[]), np.zeros(0, np.int64)),
    "identity": (op("Identity", const(ARRAY)), ARRAY),
    "zeros": (op("ConstantOfShape", const([2, 3], np.int64)), np.zeros((2, 3), np.float32)),
    "filled": (op("ConstantOfShape", const([2], np.int64), value=np.array([7], np.int32)), np.array([7, 7], np.int32)),
    "scalar": (op("ConstantOfShape", const([], np.int64)), np.float32(0)),
    "transpose": (op("Transpose", const(ARRAY)), ARRAY.T),
    "permuted": (op("Transpose", const(ARRAY), perm=[0, 2, 1]), ARRAY.transpose(0, 2, 1)),
    "reshape": (op("Reshape", const(ARRAY), const([3, -1], np.int64)), ARRAY.reshape(3, 2)),
    "reshape keeping": (op("Reshape", const(ARRAY), const([0, 6], np.int64)), ARRAY.reshape(1, 6)),
    "squeeze": (op("Squeeze", const(ARRAY)), ARRAY[0]),
    "squeeze by attribute": (op("Squeeze", const(ARRAY), axes=[0]), ARRAY[0]),
    "squeeze by input": (op("Squeeze", const(ARRAY), const([-3], np.int64)), ARRAY[0]),
    "unsqueeze by attribute": (op("Unsqueeze", const(ARRAY), axes=[0, 4]), ARRAY[None, ..., None]),
    "unsqueeze by input": (op("Unsqueeze", const(ARRAY), const([-1], np.int64)), ARRAY[..., None]),
    "cast": (op("Cast", const(ARRAY), to=11), ARRAY.astype(np.float64)),
    "cast to infinity": (op("Cast", const([1e9], np.float32), to=10), np.array([np.inf], np.float16)),
}


@pytest.mark.parametrize(("view", "expected"), FOLDED.values(), ids=FOLDED)
def test_what_is_free_to_know(view, expected):
    (value,) = fold_constant(view)
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape
    np.testing.assert_array_equal(value, expected)


UNKNOWN = Tensor("x", (2,))
LEFT = {
    "not constant": op("Identity", UNKNOWN),
    "omitted": op("Identity", None),
    "computed": op("Add", const([1.0]), const([2.0])),
    "dequantised": op("DequantizeLinear", const([1], np.int8), const([2.0])),
    "another domain": OpView("Identity", domain="mine", inputs=(const([1.0]),)),
    "with a body": OpView("Identity", inputs=(const([1.0]),), has_subgraph=True),
    "text": op("Constant", value_string="a"),
    "integer cast": op("Cast", const([1], np.int64), to=1),
    "cast to integer": op("Cast", const([1.5]), to=7),
    "unknown shape": op("ConstantOfShape", UNKNOWN),
    "negative": op("ConstantOfShape", const([-1], np.int64)),
    "huge": op("ConstantOfShape", const([LARGEST_ELEMENTS, 2], np.int64)),
    "overflowing": op("ConstantOfShape", const([2**40, 2**40], np.int64)),
    "reshape to unknown": op("Reshape", const(ARRAY), UNKNOWN),
    "reshape to another size": op("Reshape", const(ARRAY), const([5], np.int64)),
    "reshape keeping an axis that is not there": op("Reshape", const([1.0]), const([1, 0], np.int64)),
    "reshape with allowzero": op("Reshape", const(ARRAY), const([0], np.int64), allowzero=1),
    "squeeze by unknown": op("Squeeze", const(ARRAY), UNKNOWN),
    "squeeze of a wide axis": op("Squeeze", const(ARRAY), axes=[1]),
    "unsqueeze without axes": op("Unsqueeze", const(ARRAY)),
    "unsqueeze beyond": op("Unsqueeze", const(ARRAY), axes=[9]),
    "wrong permutation": op("Transpose", const(ARRAY), perm=[0, 0, 1]),
}


@pytest.mark.parametrize("view", LEFT.values(), ids=LEFT)
def test_what_is_left_alone(view):
    assert fold_constant(view) is None


def test_moving_does_not_copy():
    (value,) = fold_constant(op("Transpose", const(ARRAY)))
    assert np.shares_memory(value, ARRAY)
