"""Every transfer function under attack: what kernels return must lie inside the bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.prove import bounds_of
from onnx_nepenthe.proving import INTEGERS, TRANSFERS, Bounds
from onnx_nepenthe.session import SessionConfig, open_session

RANGES = ((-3.0, 3.0), (0.0, 1.0), (-2.0, 0.0), (0.25, 8.0), (-1e-3, 40.0), (-np.inf, np.inf), (0.0, np.inf))
NUMPY = {"float": np.float32, "uint8": np.uint8, "int32": np.int32, "int64": np.int64, "bool": np.bool_}
FUSED = 2e-6
"""Relative slack for results of the optimiser, which may fold a constant into a sum that we bound apart."""


def weights(name: str, *shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0, dtype: str = "float") -> str:
    values = np.random.default_rng(seed).uniform(low, high, math.prod(shape))
    values = values.astype(NUMPY[dtype])
    return f"{dtype}[{','.join(map(str, shape))}] {name} = {{{', '.join(str(v) for v in values)}}}"


def ints(name: str, *values: int) -> str:
    return f"int64[{len(values)}] {name} = {{{', '.join(map(str, values))}}}"


def row(nodes: str, *constants: str, inputs: str = "float[2,3,4,4] x", outputs: str = "y", opset: int = 17) -> str:
    held = f"<{', '.join(constants)}>" if constants else ""
    return f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {held} {{ {nodes} }}'


def unary(op: str, attributes: str = "", opset: int = 17) -> list[str]:
    return [row(f"y = {op}{attributes}(x)", opset=opset)]


TWO = "float[2,3,4,4] x, float[2,3,4,4] z"
SLOPE = weights("c", 3, 1, 1, low=-0.5, high=1.5)
POSITIVE = weights("c", 3, 1, 1, low=0.5, high=1.5)
BATCHNORM = (
    weights("s", 3),
    weights("b", 3, seed=1),
    weights("m", 3, seed=2, low=-1, high=0),
    weights("v", 3, seed=3, low=0.1, high=2),
)
ROWS: dict[str, list[str]] = {
    **{op: unary(op) for op in ("Relu", "Elu", "Selu", "Celu", "Softplus", "Sigmoid", "Tanh", "HardSwish", "Erf")},
    **{op: unary(op) for op in ("Softsign", "Abs", "Exp", "Log", "Sqrt", "Neg", "Sign", "Floor", "Ceil", "Round")},
    **{op: unary(op) for op in ("Sin", "Cos", "Softmax", "Hardmax", "LogSoftmax", "Reciprocal", "Identity")},
    **{op: unary(op) for op in ("Flatten", "Transpose", "Shape", "Size", "ArgMax", "ArgMin", "NonZero")},
    **{op: unary(op) for op in ("GlobalAveragePool", "GlobalMaxPool", "IsNaN", "IsInf", "Dropout")},
    "LeakyRelu": unary("LeakyRelu") + unary("LeakyRelu", "<alpha=-0.3>"),
    "ThresholdedRelu": unary("ThresholdedRelu") + unary("ThresholdedRelu", "<alpha=-0.5>"),
    "HardSigmoid": unary("HardSigmoid") + unary("HardSigmoid", "<alpha=-0.4, beta=0.1>"),
    "Mish": unary("Mish", opset=18),
    "Gelu": unary("Gelu", opset=20) + unary("Gelu", '<approximate="tanh">', opset=20),
    "PRelu": [row("y = PRelu(x, c)", SLOPE), row("y = PRelu(x, z)", inputs=TWO)],
    "Clip": [
        row("y = Clip(x, a, b)", "float a = {-0.5}, float b = {2.0}"),
        row("y = Clip(x, , b)", "float b = {0.0}"),
        row("y = Clip<min=0.0, max=6.0>(x)", opset=9),
    ],
    "Add": [row("y = Add(x, c)", SLOPE), row("y = Add(x, z)", inputs=TWO), row("y = Add(c, x)", weights("c", 4))],
    "Sub": [row("y = Sub(x, c)", SLOPE), row("y = Sub(c, x)", SLOPE), row("y = Sub(x, x)")],
    "Mul": [row("y = Mul(x, c)", SLOPE), row("y = Mul(x, z)", inputs=TWO), row("y = Mul(x, x)")],
    "Div": [row("y = Div(x, c)", POSITIVE), row("y = Div(c, x)", SLOPE), row("y = Div(x, z)", inputs=TWO)],
    "Sum": [row("y = Sum(x, c, z)", SLOPE, inputs=TWO)],
    "Mean": [row("y = Mean(x, c, z)", SLOPE, inputs=TWO)],
    "Max": [row("y = Max(x, c, z)", SLOPE, inputs=TWO)],
    "Min": [row("y = Min(x, c)", SLOPE)],
    "Where": [row("y = Where(p, x, c)", SLOPE, inputs="float[2,3,4,4] x, bool[2,3,4,4] p")],
    "Pow": [row("y = Pow(x, e)", f"float e = {{{e}}}") for e in (2.0, 3.0, 0.5, -1.0, 0.0)],
    "Conv": [
        row("y = Conv<pads=[1,0,1,2]>(x, w, b)", weights("w", 4, 3, 3, 3), weights("b", 4, seed=1)),
        row("y = Conv(x, w)", weights("w", 4, 3, 2, 2, low=0)),
        row('y = Conv<group=3, auto_pad="SAME_UPPER">(x, w)', weights("w", 6, 1, 3, 3, high=0)),
        row("y = Conv(x, w)", weights("w", 5, 4, 3), inputs="float[2,4,7] x"),
    ],
    "ConvTranspose": [
        row("y = ConvTranspose<strides=[2,2]>(x, w, b)", weights("w", 3, 4, 3, 3), weights("b", 4, seed=1)),
        row("y = ConvTranspose<group=3>(x, w)", weights("w", 3, 2, 2, 2, low=0)),
    ],
    "Gemm": [
        row("y = Gemm<transB=1>(x, w, c)", weights("w", 5, 7), weights("c", 5, seed=1), inputs="float[3,7] x"),
        row("y = Gemm<alpha=-0.5, beta=2.0>(x, w, c)", weights("w", 7, 5), weights("c", 3, 1), inputs="float[3,7] x"),
        row("y = Gemm<transA=1>(x, z, c)", weights("c", 1, 5), inputs="float[7,3] x, float[7,5] z"),
    ],
    "MatMul": [
        row("y = MatMul(x, w)", weights("w", 7, 5), inputs="float[2,3,7] x"),
        row("y = MatMul(w, x)", weights("w", 5, 3, low=0), inputs="float[2,3,7] x"),
        row("y = MatMul(x, z)", inputs="float[2,3,7] x, float[2,7,4] z"),
    ],
    "BatchNormalization": [row("y = BatchNormalization(x, s, b, m, v)", *BATCHNORM)],
    "MaxPool": [
        row("y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)"),
        row("y = MaxPool<kernel_shape=[2,2], ceil_mode=1, strides=[3,3]>(x)"),
        row("y = MaxPool<kernel_shape=[2,2], dilations=[2,2], pads=[1,1,1,1]>(x)"),
    ],
    "AveragePool": [
        row("y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)"),
        row("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)"),
        row("y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", inputs="float[2,3,6,6] x"),
    ],
    **{op: unary(op, "<axes=[2,3]>") for op in ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")},
    "ReduceMean": unary("ReduceMean", "<axes=[2,-1], keepdims=0>") + unary("ReduceMean"),
    "ReduceSum": [row("y = ReduceSum<keepdims=0>(x, a)", ints("a", 0, 2)), row("y = ReduceSum(x)")],
    "Reshape": [row("y = Reshape(x, s)", ints("s", 2, 3, -1)), row("y = Reshape(x, s)", ints("s", 2, -1))],
    "Squeeze": [row("y = Squeeze(x, a)", ints("a", 1), inputs="float[2,1,4] x")],
    "Unsqueeze": [row("y = Unsqueeze(x, a)", ints("a", 0, 3))],
    "Expand": [row("y = Expand(x, s)", ints("s", 2, 3, 4), inputs="float[3,1] x")],
    "LRN": unary("LRN", "<size=3, bias=0.5, alpha=0.3>"),
    "DepthToSpace": [row("y = DepthToSpace<blocksize=2>(x)", inputs="float[1,8,3,3] x")],
    "SpaceToDepth": [row("y = SpaceToDepth<blocksize=2>(x)")],
    "Resize": [
        row(f'y = Resize<mode="{mode}"{more}>(x, , s)', "float[4] s = {1.0, 1.0, 2.0, 1.5}")
        for mode, more in (("nearest", ""), ("linear", ""), ("cubic", ""))
    ],
    "Upsample": [row('y = Upsample<mode="linear">(x, s)', "float[4] s = {1.0, 1.0, 2.0, 2.0}", opset=9)],
    "Concat": [row("y = Concat<axis=1>(x, z)", inputs=TWO), row("y = Concat<axis=-1>(x, z)", inputs=TWO)],
    "Split": [row("y, w = Split<axis=1>(x, s)", ints("s", 1, 2), outputs="y, w")],
    "Slice": [row("y = Slice(x, s, e, a)", ints("s", 1, 0), ints("e", 3, 2), ints("a", 1, 3))],
    "Gather": [row("y = Gather<axis=1>(x, i)", ints("i", 2, 0))],
    "GatherElements": [row("y = GatherElements(x, i)", "int64[1,3] i = {1, 0, 1}", inputs="float[2,3] x")],
    "GatherND": [row("y = GatherND(x, i)", "int64[1,2] i = {1, 0}")],
    "Tile": [row("y = Tile(x, r)", ints("r", 1, 2, 1, 1))],
    "Pad": [
        row("y = Pad(x, p)", ints("p", 0, 1, 0, 0, 0, 0, 1, 0)),
        row("y = Pad(x, p, c)", ints("p", 0, 0, 0, -1, 0, 0, -1, 0), "float c = {-9.0}"),
        row('y = Pad<mode="reflect">(x, p)', ints("p", 0, 0, 1, 1, 0, 0, 1, 1)),
    ],
    "Cast": [row(f"y = Cast<to={to}>(x)", inputs="uint8[2,3] x") for to in (1, 6, 9)]
    + [row(f"y = Cast<to={to}>(x)") for to in (10, 11)],
    "CastLike": [row("y = CastLike(x, c)", SLOPE, inputs="uint8[2,3] x")],
    **{op: [row(f"y = {op}(x, c)", SLOPE)] for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{op: [row(f"y = {op}(x, z)", inputs="bool[4] x, bool[4] z")] for op in ("And", "Or", "Xor")},
    "Not": [row("y = Not(x)", inputs="bool[4] x")],
    "TopK": [row("y, i = TopK(x, k)", ints("k", 2), outputs="y, i")],
    "DequantizeLinear": [
        row("y = DequantizeLinear(x, s, z)", "float s = {0.1}, uint8 z = {3}", inputs="uint8[2,3] x", opset=19),
        row("y = DequantizeLinear(x, s)", weights("s", 3, low=0.1), inputs="uint8[2,3] x", opset=19),
    ],
    "QuantizeLinear": [row("y = QuantizeLinear(x, s, z)", "float s = {0.1}, uint8 z = {3}", opset=19)],
}
CASES = [pytest.param(text, id=f"{op}-{i}") for op, texts in ROWS.items() for i, text in enumerate(texts)]
NO_REFERENCE = ("auto_pad", "Upsample", "ceil_mode", "ConvTranspose<group", "Resize", "c = {-9.0}", "PRelu")
"""What onnx.reference cannot run, or computes (Resize; PRelu before 1.22) as a sum in which 0 * inf is NaN."""


def test_each_transfer_function_has_a_row() -> None:
    assert set(ROWS) == set(TRANSFERS)


def feeds_within(model: onnx.ModelProto, low: float, high: float, rng: np.random.Generator) -> Iterator[dict]:
    """Inputs inside [low, high]: at its ends, at random, near 0, and mixtures of these."""
    shapes = {
        v.name: (tuple(d.dim_value for d in v.type.tensor_type.shape.dim), v.type.tensor_type.elem_type)
        for v in model.graph.input
    }
    near_low, near_high = max(low, -50.0), min(high, 50.0)
    ends = [low, high, near_low, near_high, np.clip(0.0, low, high)]
    for attempt in range(10):
        feeds = {}
        for name, (shape, code) in shapes.items():
            smooth = rng.uniform(near_low, near_high, shape)
            corners = rng.choice(ends, shape)
            drawn = corners if attempt % 2 else np.where(rng.random(shape) < 0.3, corners, smooth)
            drawn = np.full(shape, ends[attempt]) if attempt < len(ends) else drawn
            kind = onnx.helper.tensor_dtype_to_np_dtype(code)
            feeds[name] = drawn.astype(kind) if kind.kind == "f" else rng.integers(0, 2, shape).astype(kind)
            if kind == np.uint8:
                feeds[name] = rng.integers(0, 256, shape).astype(kind)
        yield feeds


def assert_inside(bounds: Bounds, array: np.ndarray, slack: float = 0.0) -> None:
    values = np.asarray(array, np.float64)
    missing = np.isnan(values)
    assert bounds.may_be_nan or not missing.any(), "an unannounced NaN"
    if bounds.axis is not None:
        values, missing = np.moveaxis(values, bounds.axis, -1), np.moveaxis(missing, bounds.axis, -1)
        assert values.shape[-1] == bounds.channels
    size = np.nan_to_num(np.maximum(np.abs(bounds.low), np.abs(bounds.high)), posinf=0.0) * slack
    low = np.where(bounds.low >= 0, bounds.low * (1 - slack), bounds.low - size)
    high = np.where(bounds.high <= 0, bounds.high * (1 - slack), bounds.high + size)
    assert np.all((values >= low) | missing), f"{values[values < low]} below {bounds.low}"
    assert np.all((values <= high) | missing), f"{values[values > high]} above {bounds.high}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("text", CASES)
def test_kernels_stay_inside_the_bounds(text: str) -> None:
    if "PRelu" in text and tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 27):
        pytest.skip("this onnxruntime makes NaN of infinity")
    model = onnx.parser.parse_model(text)
    native = ir.from_proto(model)
    view = view_from_model(native)
    plain = open_session(native, SessionConfig(threads=1, optimise=False)).run
    optimised = open_session(native, SessionConfig(threads=1, optimise=True)).run
    runners = [(plain, 0.0), (optimised, FUSED)]
    if not any(name in text for name in NO_REFERENCE):
        evaluator = ReferenceEvaluator(model)
        runners.append((lambda feeds: evaluator.run(None, feeds), 0.0))
    rng = np.random.default_rng(0)
    for low, high in RANGES:
        ranges = {name: (low, high) for name in view.inputs if view.tensors[name].dtype not in INTEGERS}
        bounds = bounds_of(view, ranges)
        for feeds in feeds_within(model, low, high, rng):
            for run, slack in runners:
                for name, array in zip(view.outputs, run(feeds), strict=True):
                    assert_inside(bounds[name], array, slack)


UNBOUNDED = ("LogSoftmax-0", "Resize-2", "MaxPool-1", "MaxPool-2")
"""A cubic kernel overshoots, a pool may see only padding: no finite bounds are given."""


@pytest.mark.parametrize("text", [case for case in CASES if case.id not in UNBOUNDED])
def test_finite_positive_operands_give_finite_bounds(text: str) -> None:
    view = view_from_model(ir.from_proto(onnx.parser.parse_model(text)))
    ranges = {name: (0.25, 8.0) for name in view.inputs if view.tensors[name].dtype not in INTEGERS}
    bounds = bounds_of(view, ranges)
    for name in view.outputs:
        assert bounds[name].is_finite
        assert not bounds[name].may_be_nan
