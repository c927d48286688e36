"""Every operator reader: what it reads evaluates to what onnxruntime and onnx.reference compute."""

from __future__ import annotations

import math
import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import evaluate
from onnx_nepenthe.charting import chart
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.mended import Conv as MendedConv
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.session import SessionConfig, open_session

SIZES = {"N": 2, "C": 3, "H": 5, "W": 4, "T": 3}
"""What symbols of the rows are when they run."""
X = "float[2,3,5,4] x"
DYNAMIC = "float[N,3,H,W] x"


def weights(name: str, *shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0, dtype: str = "float") -> str:
    values = np.random.default_rng(seed).uniform(low, high, math.prod(shape)).astype(np.float32)
    size = f"[{','.join(map(str, shape))}]" if shape else ""
    return f"{dtype}{size} {name} = {{{', '.join(str(v) for v in values)}}}"


def ints(name: str, *values: int) -> str:
    return f"int64[{len(values)}] {name} = {{{', '.join(map(str, values))}}}"


def row(nodes: str, *constants: str, x: str = X, outputs: str = "y", opset: int = 17, ir_version: int = 8) -> str:
    held = f"<{', '.join(constants)}>" if constants else ""
    head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
    return f"{head} g ({x}) => ({outputs}) {held} {{ {nodes} }}"


C3, C4, CONV = weights("c", 3, 1, 1), weights("c", 4), weights("w", 4, 3, 3, 2)
BIAS = weights("b", 4, seed=1)
NORM = (
    weights("s", 3),
    weights("b", 3, seed=1),
    weights("m", 3, seed=2),
    weights("v", 3, seed=3, low=0.1, high=2),
)
BN = "y = BatchNormalization(x, s, b, m, v)"
FLAT = "float[3,7] x"
W75 = weights("w", 7, 5)
BOUNDS = (ints("s", 1), ints("e", 3), ints("a", 1))
PADS = ints("p", 0, 0, 1, 0, 0, 0, 2, 3)


def gemm(attributes: str, *constants: str, x: str = FLAT, opset: int = 13, names: str = "x, w, c") -> str:
    return row(f"y = Gemm{attributes}({names})", *constants, x=x, opset=opset)


def conv(attributes: str = "", *constants: str, x: str = X) -> str:
    return row(f"y = Conv{attributes}(x, w)", *(constants or (CONV,)), x=x)


ROWS: dict[str, list[str]] = {
    "Add": [
        row("y = Add(x, c)", C3),
        row("y = Add(c, x)", C3, x=DYNAMIC, opset=7),
        row("y = Add(x, c)", C4),
        row("y = Add(x, c)", weights("c")),
        row("y = Add(x, c)", weights("c", 1, 1, 1, 1)),
        row("y = Add(x, c)", weights("c", 2, 1, 1, 1)),
        row("y = Add(x, c)", "float[3,5,4] c = {" + ",".join(["1.5"] * 60) + "}"),
        row("a = Neg(x) y = Add(x, a)"),
        row("a = Mul(x, c) y = Add(a, x)", C3, x=DYNAMIC, opset=14),
        row("y = Add(x, c)", "float[1] c = {2.5}", x="float[C] x"),
    ],
    "Sub": [row("y = Sub(x, c)", C3), row("y = Sub(c, x)", C3), row("a = Neg(x) y = Sub(a, x)"), row("y = Sub(x, x)")],
    "Mul": [
        row("y = Mul(x, c)", C3),
        row("y = Mul(c, x)", C4, x="float[N,3,5,4] x"),
        row("y = Mul(x, c)", weights("c")),
    ],
    "Div": [row("y = Div(x, c)", weights("c", 3, 1, 1, low=0.5))],
    "Neg": [row("y = Neg(x)"), row("y = Neg(x)", x=DYNAMIC)],
    "Sum": [
        row("y = Sum(x)"),
        row("y = Sum(x, c)", C3, opset=8),
        row("y = Sum(c, x)", C3),
        row("a = Neg(x) b = Mul(x, c) y = Sum(x, a, b)", C3),
    ],
    "BatchNormalization": [
        *(row(BN, *NORM, opset=opset) for opset in (7, 9, 14, 15)),
        row("y = BatchNormalization<epsilon=0.1>(x, s, b, m, v)", *NORM, x=DYNAMIC),
        row(BN, *NORM, x="float[4,3] x"),
        row("y = BatchNormalization<spatial=1>(x, s, b, m, v)", *NORM, opset=7),
        row("y = BatchNormalization<training_mode=0>(x, s, b, m, v)", *NORM, opset=14),
    ],
    "Concat": [
        row("a = Neg(x) y = Concat<axis=1>(x, a)"),
        row("a = Neg(x) b = Mul(x, c) y = Concat<axis=-3>(a, b, x)", C3),
        row("a = Conv(x, w) y = Concat<axis=1>(a, x)", weights("w", 2, 3, 1, 1), x=DYNAMIC),
        row("a = Neg(x) y = Concat<axis=-1>(x, a)"),
        row("y = Concat<axis=2>(x)"),
        row("y = Concat<axis=1>(x, x)", opset=7),
    ],
    "Conv": [
        row("y = Conv<pads=[1,0,1,2], strides=[2,1], dilations=[1,2]>(x, w, b)", CONV, BIAS),
        conv(x=DYNAMIC),
        conv("<group=3>", weights("w", 6, 1, 2, 2)),
        conv("<dilations=[2]>", weights("w", 4, 3, 2), x="float[N,3,T] x"),
        conv("<pads=[1,1,0,0,1,0]>", weights("w", 2, 1, 2, 2, 2), x="float[1,1,3,4,3] x"),
        conv('<auto_pad="SAME_UPPER">', CONV, x=DYNAMIC),
        conv('<auto_pad="SAME_LOWER">', CONV, x=DYNAMIC),
        conv('<auto_pad="SAME_UPPER", strides=[2,3]>'),
        conv('<auto_pad="SAME_LOWER", strides=[2,3]>'),
        conv('<auto_pad="SAME_LOWER", strides=[2,2]>', weights("w", 2, 3, 1, 1)),
        conv('<auto_pad="VALID", strides=[2,1]>'),
        conv('<auto_pad="NOTSET", pads=[1,1,1,1], kernel_shape=[3,2]>'),
        row("w = Identity(v) y = Conv(x, w)", weights("v", 4, 3, 2, 2)),
        row("w = Constant<value=float[1,3,1,1] {1.0, -2.0, 0.5}>() y = Conv(x, w)"),
        row("w = ConstantOfShape<value=float[1] {0.5}>(s) y = Conv(x, w)", ints("s", 2, 3, 3, 3)),
    ],
    "ConvTranspose": [
        row("y = ConvTranspose(x, w, b)", weights("w", 3, 4, 3, 2), BIAS),
        row("y = ConvTranspose<pads=[1,0,0,1]>(x, w)", weights("w", 3, 4, 3, 2), x=DYNAMIC),
        row("y = ConvTranspose<group=3, pads=[0,1,1,0]>(x, w)", weights("w", 3, 2, 2, 2)),
        row("y = ConvTranspose<group=2>(x, w)", weights("w", 4, 3, 2), x="float[1,4,6] x"),
        row("y = ConvTranspose<dilations=[2,1], pads=[2,1,1,0]>(x, w)", weights("w", 3, 4, 3, 2)),
        row("y = ConvTranspose<strides=[2,2]>(x, w, b)", weights("w", 3, 4, 2, 2), BIAS),
        row("y = ConvTranspose<strides=[2,1], pads=[1,0,0,1]>(x, w)", weights("w", 3, 4, 3, 2), x=DYNAMIC),
        row("y = ConvTranspose<group=3, strides=[3,2], dilations=[1,2]>(x, w)", weights("w", 3, 2, 2, 2)),
        row("y = ConvTranspose<strides=[2,3], output_padding=[1,2]>(x, w, b)", weights("w", 3, 4, 2, 2), BIAS),
        row('y = ConvTranspose<auto_pad="VALID", strides=[1,1], output_padding=[0,0]>(x, w)', weights("w", 3, 1, 2, 2)),
    ],
    "Gemm": [
        *(gemm("", W75, weights("c", 5, seed=1), opset=opset) for opset in (7, 9, 11, 13)),
        gemm("<transB=1, alpha=-0.5, beta=2.0>", weights("w", 5, 7), weights("c", 1, 5)),
        gemm("", W75, opset=11, names="x, w"),
        gemm("<beta=0.5>", W75, weights("c")),
        gemm("<beta=0.5>", W75, weights("c", 1)),
        gemm("", W75, weights("c", 1, 1), x="float[N,7] x"),
    ],
    "MatMul": [
        row("y = MatMul(x, w)", W75, x=FLAT),
        row("y = MatMul(x, w)", W75, x="float[N,T,7] x", opset=9),
        row("y = MatMul(x, w)", weights("w", 4, 6)),
        row("y = MatMul(w, x)", weights("w", 6, 5)),
        row("y = MatMul(w, x)", weights("w", 6, 3), x="float[3,W] x"),
    ],
    "Identity": [row("y = Identity(x)"), row("y = Identity(x)", x=DYNAMIC)],
    "Dropout": [
        row("y = Dropout<ratio=0.3>(x)", opset=7),
        row("y = Dropout<ratio=0.3>(x)", opset=10),
        row("y = Dropout(x, r)", "float r = {0.3}", opset=12),
        row("y = Dropout(x, r, t)", "float r = {0.3}", "bool t = {0}", opset=13),
        row("y, m = Dropout(x)", opset=13),
    ],
    "Cast": [row("y = Cast<to=10>(x)"), row("y = Cast<to=11>(x)"), row("y = Cast<to=1>(x)", x="double[2,3] x")],
    "Pad": [
        row("y = Pad<pads=[0,0,1,0,0,0,2,3]>(x)", opset=7),
        row('y = Pad<pads=[0,0,1,0,0,0,2,3], mode="constant", value=0.0>(x)', opset=10, x=DYNAMIC),
        row("y = Pad(x, p)", PADS, opset=11),
        row("y = Pad(x, p, c)", PADS, "float c = {0.0}", opset=13),
        row("y = Pad(x, p, , a)", ints("p", 1, 2, 0, 3), ints("a", -1, 2), opset=18),
        row("y = Pad(x, p, c, a)", ints("p", 1, 2), "float c = {0.0}", ints("a", 2), x="float[2,3,T] x", opset=18),
        row("y = Pad(x, p)", ints("p", *[0] * 8)),
    ],
    "AveragePool": [
        *(row("y = AveragePool<kernel_shape=[3,2], strides=[2,1]>(x)", opset=opset) for opset in (7, 10, 11, 19)),
        row("y = AveragePool<kernel_shape=[3,2], pads=[1,0,1,1], count_include_pad=1>(x)", x=DYNAMIC),
        row("y = AveragePool<kernel_shape=[2,2], dilations=[2,1]>(x)", opset=19),
        row("y = AveragePool<kernel_shape=[5,4]>(x)"),
        row("y = AveragePool<kernel_shape=[5,4], strides=[5,4], ceil_mode=1>(x)"),
        row("y = AveragePool<kernel_shape=[3,2], strides=[2,2], ceil_mode=1>(x)"),
        row('y = AveragePool<kernel_shape=[3,2], auto_pad="VALID">(x)'),
        row('y = AveragePool<kernel_shape=[3,2], auto_pad="SAME_UPPER", count_include_pad=1>(x)'),
        row("y = AveragePool<kernel_shape=[2]>(x)", x="float[1,2,7] x"),
    ],
    "GlobalAveragePool": [row("y = GlobalAveragePool(x)", x=x) for x in (X, DYNAMIC, "float[2,3,7] x")],
    "ReduceMean": [
        row("y = ReduceMean<axes=[2,3]>(x)", opset=7),
        row("y = ReduceMean<axes=[-1,-2], keepdims=0>(x)", opset=13, x=DYNAMIC),
        row("y = ReduceMean<keepdims=1>(x, a)", ints("a", 2, 3), opset=18),
        row("y = ReduceMean<keepdims=0>(x, a)", ints("a", -1), x="float[2,3,7] x", opset=18),
        row("t = Transpose<perm=[0,2,3,1]>(x) y = ReduceMean<axes=[1,2], keepdims=0>(t)", opset=13),
    ],
    "Slice": [
        row("y = Slice<axes=[1], starts=[1], ends=[3]>(x)", opset=9),
        row("y = Slice<starts=[1], ends=[2]>(x)", opset=7),
        *(row("y = Slice(x, s, e, a)", *BOUNDS, opset=opset) for opset in (10, 11, 13)),
        row("y = Slice(x, s, e)", ints("s", 1), ints("e", 2)),
        row("y = Slice(x, s, e, a, t)", ints("s", -2), ints("e", 2**63 - 1), ints("a", -3), ints("t", 1)),
        row("y = Slice(x, s, e, a)", ints("s", -100), ints("e", -1), ints("a", 3)),
        row("y = Slice(x, s, e, a)", ints("s", 0), ints("e", 100), ints("a", 1)),
    ],
    "Split": [
        row("y, z = Split<axis=1, split=[1,2]>(x)", outputs="y, z", opset=7),
        row("y, z = Split<axis=-3, split=[2,1]>(x)", outputs="y, z", opset=11),
        row("y, z = Split<axis=3>(x)", outputs="y, z", opset=11),
        row("y, z = Split<axis=1>(x, s)", ints("s", 1, 2), outputs="y, z", opset=13),
        row("y, z = Split(x)", outputs="y, z", opset=13),
        row("y, z = Split<axis=1, num_outputs=2>(x)", outputs="y, z", opset=18),
        row("y, z, q = Split<axis=2, num_outputs=3>(x)", outputs="y, z, q", opset=18),
        row("y, z = Split<axis=-1>(x, s)", ints("s", 1, 3), outputs="y, z", opset=18),
    ],
    "Transpose": [row("y = Transpose(x)"), row("y = Transpose<perm=[0,2,3,1]>(x)", x=DYNAMIC)],
    "Flatten": [
        *(row(f"y = Flatten<axis={axis}>(x)", opset=11) for axis in (0, 1, 2, 3, 4, -1, -3)),
        row("y = Flatten(x)", opset=7),
        row("y = Flatten(x)", x=DYNAMIC),
        row("y = Flatten<axis=3>(x)", x=DYNAMIC),
        row("y = Flatten(x)", x="float[3] x"),
    ],
    "Reshape": [
        row("y = Reshape(x, s)", ints("s", 0, -1), opset=7),
        row("y = Reshape(x, s)", ints("s", 2, 3, 20), opset=13),
        row("y = Reshape(x, s)", ints("s", -1, 0, 5, 4), opset=14),
        row("y = Reshape(x, s)", ints("s", -1, 3, 5, 4), opset=14),
        row("y = Reshape<allowzero=1>(x, s)", ints("s", 2, -1), opset=14),
        row("y = Reshape<allowzero=0>(x, s)", ints("s", 0, 0, -1), opset=14, x=DYNAMIC),
        row("s = Shape(x) y = Reshape(x, s)", opset=15),
        row("n = Shape<end=1>(x) s = Concat<axis=0>(n, m) y = Reshape(x, s)", ints("m", 3, 20), x="float[N,3,5,4] x"),
    ],
    "Squeeze": [
        row("y = Squeeze<axes=[2,-1]>(x)", x="float[N,3,1,1] x", opset=11),
        row("y = Squeeze(x, a)", ints("a", 2, -1), x="float[N,3,1,1] x", opset=13),
        row("y = Squeeze(x)", x="float[2,1,3,1] x", opset=13),
        row("y = Squeeze(x)", x="float[2,1,3,1] x", opset=11),
    ],
    "Unsqueeze": [
        row("y = Unsqueeze<axes=[2,0]>(x)", x="float[N,3] x", opset=7),
        row("y = Unsqueeze<axes=[-1,1]>(x)", x="float[2,3] x", opset=11),
        row("y = Unsqueeze(x, a)", ints("a", -1, 1), x="float[N,3] x", opset=13),
    ],
}
CASES = [pytest.param(text, id=f"{op}-{i}") for op, texts in ROWS.items() for i, text in enumerate(texts)]


def test_each_reader_has_a_row() -> None:
    assert set(ROWS) == set(READERS)


def read(text: str) -> tuple[onnx.ModelProto, Atlas]:
    model = onnx.parser.parse_model(text)
    return model, chart(view_from_model(ir.from_proto(model)), {})


def feed(model: onnx.ModelProto) -> np.ndarray:
    kind = model.graph.input[0].type.tensor_type
    shape = [dim.dim_value or SIZES[dim.dim_param] for dim in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return np.random.default_rng(5).standard_normal(shape).astype(dtype)


def value_of(form: Form, x: np.ndarray) -> np.ndarray:
    y = evaluate(form.core, x.astype(np.float64))
    order = [axis for group in form.view for axis in group]
    rest = [axis for axis in range(y.ndim) if axis not in order]
    return y.transpose(order + rest).reshape([math.prod(y.shape[axis] for axis in group) for group in form.view])


def assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    precision = 1e-2 if wanted.dtype == np.float16 else 2e-6
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=precision, atol=precision * (1 + np.abs(wanted).max()))


# What onnx.reference 1.23 gets wrong or cannot do, so that only onnxruntime is the oracle: it trains with
# BatchNormalization before opset 14, takes Unsqueeze's axes one by one, and fails on a grouped ConvTranspose.
BEYOND_REFERENCE = re.compile(r": [79]\]> .*BatchNormalization|axes=\[2,0\]|ConvTranspose<group")


@pytest.mark.parametrize("text", CASES)
def test_a_reading_evaluates_to_what_kernels_compute(text: str) -> None:
    model, atlas = read(text)
    assert not atlas.refusals
    x = feed(model)
    oracles = [open_session(ir.from_proto(model), SessionConfig(threads=1, optimise=False)).run({"x": x})]
    if not BEYOND_REFERENCE.search(text):
        oracles.append(ReferenceEvaluator(model, new_ops=[MendedConv]).run(None, {"x": x}))
    for index, output in enumerate(model.graph.output):
        form = atlas.form("x", output.name)
        assert isinstance(form, Form), form
        for oracle in oracles:
            assert_close(value_of(form, x), oracle[index])


REFUSALS: dict[str, tuple[str, str]] = {}
"""Name → (model, part of the reason) for operators that are affine in kind but are not read."""


def refuse(name: str, reason: str, *texts: str) -> None:
    for index, text in enumerate(texts):
        REFUSALS[f"{name}-{index}"] = (text, reason)


TWO = f"{X}, float[4,3,3,2] w"
refuse(
    "Add on the wrong axis",
    "another or unknown size",
    row("y = Add(x, c)", weights("c", 3)),
    row("y = Add(x, c)", weights("c", 3, 1, 1), x="float[2,1,5,4] x"),
    row("y = Mul(x, c)", weights("c", 3, 1, 1), x="float[2,C,5,4] x"),
)
refuse(
    "Add of more axes",
    "more axes than",
    row("y = Add(x, c)", weights("c", 1, 1, 3), x="float[2,3] x"),
    row("a = Reshape(x, s) y = Mul(a, c)", weights("c", 3), x="float[2,3] x, int64[Q] s"),
)
refuse("Add of a map", "more than one axis", row("y = Add(x, c)", weights("c", 5, 4)))
refuse("Add of nothing", "is empty", row("y = Add(x, c)", "float[0] c = {}", x="float[2,0] x"))
refuse(
    "Add of integers",
    "not floating-point",
    row("y = Add(x, c)", ints("c", 1), x="int64[2] x"),
    row("y = Neg(x)", x="int64[2] x"),
    row("y = Gemm(x, w, w)", "int64[1,1] w = {2}", x="int64[1,1] x"),
)
refuse(
    "Add of unequal ranks",
    "broadcast, or their ranks",
    row("a = ReduceSum<keepdims=0>(x, i) y = Add(x, a)", ints("i", 0)),
)
refuse("Div by zero", "divides by zero", row("y = Div(x, c)", "float[4] c = {1.0, 0.0, 1.0, 1.0}"))
refuse("Sum with constants", "with constants among them", row("y = Sum(x, x, c)", C3))
refuse(
    "BatchNormalization in training",
    "training mode",
    row("y, a, d = BatchNormalization<training_mode=1>(x, s, b, m, v)", *NORM, outputs="y, a, d", opset=15),
    row("y, a = BatchNormalization(x, s, b, m, v)", *NORM, outputs="y, a", opset=9),
)
refuse(
    "BatchNormalization per position",
    "spatial=0",
    row("y = BatchNormalization<spatial=0>(x, s, b, m, v)", *NORM, x="float[2,3] x", opset=7),
)
refuse(
    "BatchNormalization without rank",
    "rank of its operand",
    row("a = Reshape(x, q) " + BN.replace("(x", "(a"), *NORM, x=f"{X}, int64[Q] q"),
    row(BN, *NORM, x="float[3] x"),
)
refuse("Concat with a constant", "a constant is among", row("y = Concat<axis=1>(x, c)", weights("c", 2, 1, 5, 4)))
refuse("Concat nowhere", "does not exist", row("y = Concat<axis=7>(x, x)"))
refuse(
    "weights that are fed",
    "weights are not constant",
    row("y = Conv(x, w)", x=TWO),
    row("y = Conv(x, k, b)", weights("k", 4, 3, 1, 1), x=f"{X}, float[4] b"),
    row("y = ConvTranspose(x, k)", x=f"{X}, float[3,1,1,1] k"),
    row("y = Gemm(x, k)", x=f"{FLAT}, float[7,5] k"),
    row("y = Gemm(x, w, c)", W75, x=f"{FLAT}, float[5] c"),
    row(BN, *NORM[1:], x=f"{X}, float[3] s"),
)
refuse(
    "weights a caller may feed",
    "weights are not constant",
    row("y = MatMul(x, w) z = Gemm(x, w)", x=f"{FLAT}, {W75}", outputs="y, z"),
)
refuse(
    "Conv without space",
    "no spatial axes",
    row("y = Conv(x, w)", weights("w", 2, 3), x="float[2,3] x"),
    row("y = ConvTranspose(x, w)", weights("w", 3, 2), x="float[2,3] x"),
)
refuse(
    "Conv of another rank",
    "do not fit its kernel",
    conv("<strides=[1]>"),
    conv("<pads=[0,0]>"),
    conv("<dilations=[1,1,1]>"),
    row("y = ConvTranspose<pads=[1,1]>(x, w)", weights("w", 3, 1, 2, 2)),
)
refuse("Conv that crops", "padding is negative", conv("<pads=[-1,0,0,0]>"))
refuse("Conv of unknown padding", "is unknown", conv('<auto_pad="SAME">'))
refuse(
    "Conv of unknown size",
    "axis of unknown size",
    conv('<auto_pad="SAME_UPPER", strides=[2,2]>', CONV, x=DYNAMIC),
    conv('<auto_pad="SAME_LOWER", strides=[1,2]>', CONV, x="float[1,3,5,W] x"),
)
refuse(
    "ConvTranspose with a shape",
    "an output shape",
    row("y = ConvTranspose<output_shape=[6,5]>(x, w)", weights("w", 3, 1, 2, 2)),
)
refuse(
    "ConvTranspose with automatic padding",
    "automatic padding",
    row('y = ConvTranspose<auto_pad="SAME_UPPER">(x, w)', weights("w", 3, 1, 2, 2)),
)
refuse(
    "ConvTranspose that crops", "crops more", row("y = ConvTranspose<pads=[2,0,0,0]>(x, w)", weights("w", 3, 1, 2, 2))
)
refuse("Gemm transposed", "transposes its left", gemm("<transA=1>", weights("w", 3, 5), weights("c", 5)))
refuse(
    "Gemm with a column", "addend is not one row", gemm("", W75, weights("c", 3, 1)), gemm("", W75, weights("c", 3, 5))
)
refuse(
    "MatMul in batches",
    "batch of matrices",
    row("y = MatMul(x, w)", weights("w", 2, 3, 4, 6)),
    row("y = MatMul(x, w)", weights("w", 4)),
    row("y = MatMul(x, w)", "int64[1,1] w = {2}", x="int64[1,1] x"),
)
refuse("MatMul of a vector", "below 2 or unknown", row("y = MatMul(x, w)", W75, x="float[7] x"))
refuse(
    "Dropout in training",
    "may be in training",
    row("y = Dropout(x, r, t)", "float r = {0.3}", "bool t = {1}"),
    row("y = Dropout(x, r, t)", "float r = {0.3}", x=f"{X}, bool t"),
)
refuse(
    "Pad with a number",
    "other than zero",
    row("y = Pad<pads=[0,0,1,0,0,0,2,3], value=1.0>(x)", opset=10),
    row("y = Pad(x, p, c)", PADS, "float c = {1.0}"),
)
refuse(
    "Pad that is fed",
    "pads are not constant",
    row("y = Pad(x, p)", x=f"{X}, int64[8] p"),
    row("y = Pad(x, p, c)", PADS, x=f"{X}, float c"),
)
refuse("Pad of fed axes", "axes are not constant", row("y = Pad(x, p, , a)", PADS, x=f"{X}, int64[4] a", opset=18))
refuse("Pad nowhere", "does not exist", row("y = Pad(x, p, , a)", ints("p", 1, 1), ints("a", 4), opset=18))
refuse("Pad that crops", "is negative", row("y = Pad(x, p)", ints("p", 0, 0, -1, 0, 0, 0, 2, 0)))
refuse(
    "Pad of channels",
    "samples or channels",
    row("y = Pad(x, p)", ints("p", 0, 1, 0, 0, 0, 0, 0, 0)),
    row("y = Pad(x, p)", ints("p", 0, 0, 0, 0, 1, 0, 0, 0)),
)
refuse("Pad of another rank", "do not fit", row("y = Pad(x, p)", ints("p", 0, 1)))
refuse(
    "Pad without space",
    "or without space",
    row("y = Pad(x, p)", ints("p", 0, 1, 0, 1), x="float[2,3] x"),
    row("y = Pad(x, p)", PADS, x="float[2,C,5,4] x"),
)
refuse(
    "AveragePool without padding",
    "leave out the padding",
    row("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)"),
    row('y = AveragePool<kernel_shape=[3,3], auto_pad="SAME_LOWER">(x)'),
)
refuse(
    "AveragePool rounding up",
    "ceil_mode",
    row("y = AveragePool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)"),
    row("y = AveragePool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)", x=DYNAMIC),
    row("y = AveragePool<kernel_shape=[3,2], pads=[1,0,1,0], count_include_pad=1, ceil_mode=1>(x)"),
)
refuse(
    "AveragePool of unknown shape",
    "not known",
    row("a = Reshape(x, q) y = AveragePool<kernel_shape=[2,2]>(a)", x=f"{X}, int64[Q] q"),
    row("y = AveragePool<kernel_shape=[2,2]>(x)", x="float[2,C,5,4] x"),
    row("y = AveragePool<kernel_shape=[2,2]>(x)", x="float[2,3] x"),
)
refuse("AveragePool of another rank", "do not fit", row("y = AveragePool<kernel_shape=[2,2], strides=[2]>(x)"))
refuse("GlobalAveragePool without space", "rank of its operand", row("y = GlobalAveragePool(x)", x="float[2,3] x"))
refuse("ReduceMean of fed axes", "axes are not constant", row("y = ReduceMean(x, a)", x=f"{X}, int64[1] a", opset=18))
refuse("ReduceMean nowhere", "do not exist", row("y = ReduceMean<axes=[2,9]>(x)", opset=13))
refuse("ReduceMean of integers", "rank or type", row("y = ReduceMean<axes=[1]>(x)", x="int64[2,3] x", opset=13))
refuse(
    "Slice with a step",
    "with a step",
    row("y = Slice(x, s, e, a, t)", *BOUNDS, ints("t", 2)),
    row("y = Slice(x, s, e, a)", ints("s", 0, 0), ints("e", 2, 2), ints("a", 1, 2)),
    row("y = Slice<starts=[0,0], ends=[1,2]>(x)", opset=9),
)
refuse("Slice of fed bounds", "bounds are not constant", row("y = Slice(x, s, e)", ints("s", 1), x=f"{X}, int64[1] e"))
refuse("Slice of unknown size", "unknown size", row("y = Slice(x, s, e, a)", *BOUNDS, x="float[2,C,5,4] x"))
refuse("Slice of nothing", "is empty", row("y = Slice(x, s, e, a)", ints("s", 3), ints("e", 1), ints("a", 1)))
refuse("Slice nowhere", "does not exist", row("y = Slice(x, s, e, a)", ints("s", 0), ints("e", 1), ints("a", 4)))
refuse("Split of unknown size", "unknown size", row("y, z = Split<axis=0>(x)", x=DYNAMIC, outputs="y, z"))
refuse(
    "Split of fed sizes", "are not constant", row("y, z = Split<axis=1>(x, s)", x=f"{X}, int64[2] s", outputs="y, z")
)
refuse(
    "Split that does not fit",
    "do not fit",
    row("y, z = Split<axis=1, split=[2,2]>(x)", outputs="y, z", opset=11),
    row("y, z = Split<axis=1, split=[0,3]>(x)", outputs="y, z", opset=11),
    row("y, z, a, b = Split<axis=1, num_outputs=4>(x)", outputs="y, z, a, b", opset=18),
)
refuse("Split nowhere", "does not exist", row("y, z = Split<axis=4>(x)", outputs="y, z"))
refuse(
    "axes of unknown rank",
    "rank of its operand is not known",
    *(row(f"a = Reshape(x, q) y = {op}(a)", x=f"{X}, int64[Q] q") for op in ("Transpose", "Flatten", "Squeeze")),
    row("a = Reshape(x, q) y = Unsqueeze(a, i)", ints("i", 0), x=f"{X}, int64[Q] q"),
    row("a = Reshape(x, q) y = Reshape(a, i)", ints("i", -1), x=f"{X}, int64[Q] q"),
    row("a = Reshape(x, q) y = Concat<axis=0>(a, a)", x=f"{X}, int64[Q] q"),
)
refuse("Reshape to a fed shape", "target shape is not constant", row("y = Reshape(x, q)", x=f"{X}, int64[Q] q"))
refuse(
    "Reshape to nothing",
    "empty tensor",
    row("y = Reshape<allowzero=1>(x, s)", ints("s", 0, 2), opset=14, x="float[2,0] x"),
)
refuse(
    "Reshape of a missing axis",
    "axis that does not exist",
    row("y = Reshape(x, s)", ints("s", 2, 3, 0), x="float[2,3] x"),
)
refuse(
    "Squeeze of an unknown size", "not known to have size 1", row("y = Squeeze(x, a)", ints("a", 0), x="float[N,3] x")
)
refuse("Squeeze of all ones", "not every size is known", row("y = Squeeze(x)", x="float[N,1] x"))
refuse(
    "Squeeze of fed axes",
    "axes are not constant",
    row("y = Squeeze(x, a)", x=f"{X}, int64[1] a"),
    row("y = Unsqueeze(x, a)", x=f"{X}, int64[1] a"),
)
refuse("Squeeze of no axes", "read differently", row("y = Squeeze(x, a)", "int64[0] a = {}", x="float[2,1] x"))
refuse(
    "Squeeze nowhere",
    "does not exist",
    row("y = Squeeze(x, a)", ints("a", 5), x="float[2,1] x"),
    row("y = Unsqueeze(x, a)", ints("a", 5), x="float[2,1] x"),
)


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_why(name: str) -> None:
    text, reason = REFUSALS[name]
    _, atlas = read(text)
    readings = [READERS[op.op_type](op) for op in atlas.view.ops if op.op_type in READERS]
    reasons = [reading.reason for reading in readings if isinstance(reading, Refused)]
    assert any(reason in found for found in reasons), reasons
    assert "y" not in atlas.affine


NOT_AFFINE = [
    row("y = Div(c, x)", C3),
    row("y = Mul(x, x)"),
    row("y = Div(x, x)"),
    row("y = MatMul(x, x)", x="float[3,3] x"),
    row('y = Pad<mode="reflect">(x, p)', PADS),
    row("y = ReduceMean(x)", opset=13),
    *(row(f"y = {op}(x)", x="int64[2,1] x") for op in ("Transpose", "Flatten", "Squeeze")),
    row("y = Unsqueeze(x, s)", ints("s", 0), x="int64[2,1] x"),
    row("y = Reshape(x, s)", ints("s", -1), x="int64[2,1] x"),
    row("y = Concat<axis=0>(x, x)", x="int64[2,1] x"),
    row("y, z = Split<axis=0>(x)", x="int64[2,1] x", outputs="y, z"),
    row("y = Slice(x, s, e)", ints("s", 0), ints("e", 1), x="int64[2,1] x"),
    row("y = Pad(x, s)", ints("s", 0, 1, 0, 1), x="int64[2,1] x"),
    row("y = Cast<to=7>(x)"),
    row("y = Cast<to=1>(x)", x="int64[2,1] x"),
    row("a = Reshape(x, q) y = Identity(a)", x=f"{X}, int64[Q] q"),
]


@pytest.mark.parametrize("text", NOT_AFFINE)
def test_what_is_not_affine_is_neither_read_nor_reported(text: str) -> None:
    _, atlas = read(text)
    assert "y" not in atlas.affine
    assert not [refusal for refusal in atlas.refusals if refusal.key == "y"]


def test_before_ir_4_a_weight_that_is_an_input_is_a_constant() -> None:
    text = row("y = MatMul(x, w)", x=f"{FLAT}, {W75}", opset=8, ir_version=3)
    model, atlas = read(text)
    form = atlas.form("x", "y")
    assert isinstance(form, Form)
    x = np.random.default_rng(5).standard_normal((3, 7)).astype(np.float32)
    assert_close(value_of(form, x), ReferenceEvaluator(model).run(None, {"x": x})[0])


@pytest.mark.parametrize(
    "text",
    [
        row("y = Mul(x, c)", "float[4] c = {inf, 1.0, 1.0, 1.0}"),
        row("y = Add(x, c)", "float[4] c = {inf, inf, inf, inf}"),
        row("y = Add(x, c)", "float[4] c = {nan, 1.0, 1.0, 1.0}"),
        row("a = Conv(x, w) y = Mul(a, c)", weights("w", 2, 3, 1, 1), "float[2,1,1] c = {inf, 1.0}"),
        row("a = MatMul(x, w) y = Mul(a, c)", weights("w", 4, 2), "float[2] c = {nan, inf}"),
        row(BN, *NORM[:3], "float[3] v = {-1.0, 1.0, 0.5}"),
        row("a = BatchNormalization(x, s, b, m, v) y = Conv(a, w)", *NORM[:3], "float[3] v = {-1.0, 1.0, 0.5}", CONV),
    ],
)
def test_numbers_that_are_not_finite_stay_where_they_are(text: str) -> None:
    _, atlas = read(text)
    assert "its weights are not finite" in {refusal.refusal.reason for refusal in atlas.refusals}
    assert isinstance(atlas.form("x", "y"), Refused)


def test_an_operator_without_its_operands_is_refused() -> None:
    for op in ("Add", "Sub", "Mul", "Div"):
        refused = READERS[op](OpView(op, inputs=(Tensor("x", (2,)), None)))
        assert isinstance(refused, Refused)
        assert "two operands" in refused.reason


@pytest.mark.parametrize(
    "text",
    [
        row("y = Add<broadcast=1, axis=1>(x, c)", weights("c", 3), x="float[2,3,4,3] x", opset=6),
        row("y = Dropout<ratio=0.5>(x)", opset=6),
        row(BN, *NORM, opset=6),
    ],
)
def test_rules_from_before_opset_7_are_not_applied(text: str) -> None:
    _, atlas = read(text)
    readings = [READERS[op.op_type](op) for op in atlas.view.ops]
    assert [isinstance(reading, Refused) and "before opset 7" in reading.reason for reading in readings] == [True]
    assert not atlas.affine
    assert ["older than 7" in refusal.refusal.reason for refusal in atlas.refusals] == [True]


def test_operators_of_other_domains_are_not_read() -> None:
    text = row("y = other.Neg(x)").replace('["" : 17]', '["" : 17, "other" : 1]')
    _, atlas = read(text)
    assert not atlas.affine
