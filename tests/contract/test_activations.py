"""Every registered activation and pattern against onnxruntime and onnx.reference; a missing row fails."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.activations import ACTIVATIONS, PATTERNS
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.rectifiers import Rectifier, find_rectifiers
from tests.helpers.compare import RuntimeRefusal, run_runtime

SHAPE = (2, 3, 4, 5)
TAIL = 2.0**-24
ULPS = 8 * 2.0**-24
"""Room for the few float32 roundings of an operator, relative to the terms of its line."""


@dataclass(frozen=True)
class Row:
    """One spelling of one registered rectifier.

    Attributes:
        name: where it is registered.
        body: statements from x to y; numbers in {braces} become constants.
        op: what it is found as.
        pieces: per piece: "line", "tail" or "curve".
        jumps: positions of discontinuous knots.
        opset: of the default domain.
    """

    name: str
    body: str
    op: str
    pieces: str
    jumps: tuple[int, ...] = ()
    opset: int = 20

    def __str__(self) -> str:
        return f"{self.name}-{self.body}"


SMOOTH = "tail curve tail"
ROWS = (
    Row("Relu", "y = Relu(x)", "Relu", "line line"),
    Row("LeakyRelu", "y = LeakyRelu<alpha=0.1>(x)", "LeakyRelu", "line line"),
    Row("LeakyRelu", "y = LeakyRelu(x)", "LeakyRelu", "line line"),
    Row("LeakyRelu", "y = LeakyRelu<alpha=1.0>(x)", "LeakyRelu", "line"),
    Row("PRelu", "y = PRelu(x, {0.25})", "PRelu", "line line"),
    Row("PRelu", "y = PRelu(x, {[3,1,1] 0.5 1 -2})", "PRelu", "line line"),
    Row("PRelu", "y = PRelu(x, {[1,3,1,1] 0.5 1 -2})", "PRelu", "line line", opset=9),
    Row("PRelu", "y = PRelu(x, {[5] 0.5 1 -2 3 0})", "PRelu", "line line"),
    Row("PRelu", "y = PRelu(x, {[3,1,1] 1 1 1})", "PRelu", "line"),
    Row("Clip", "y = Clip(x, {0}, {6})", "Clip", "line line line"),
    Row("Clip", "y = Clip(x, {-1})", "Clip", "line line"),
    Row("Clip", "y = Clip(x, , {2})", "Clip", "line line"),
    Row("Clip", "y = Clip(x, {2}, {-2})", "Clip", "line", opset=11),
    Row("Clip", "y = Clip(x, {2}, {-2})", "Clip", "line", opset=13),
    Row("Clip", "y = Clip(x)", "Clip", "line"),
    Row("Clip", "y = Clip<min=0.0, max=6.0>(x)", "Clip", "line line line", opset=10),
    Row("Clip", "y = Clip<min=0.0, max=3.4028234663852886e38>(x)", "Clip", "line line", opset=7),
    Row("Clip", "y = Clip<max=1.5>(x)", "Clip", "line line", opset=9),
    Row("Max", "y = Max(x, {0})", "Max", "line line"),
    Row("Max", "y = Max({[1] -0.5}, x)", "Max", "line line"),
    Row("Max", "y = Max({[3,1,1] -1 0 2}, x)", "Max", "line line"),
    Row("Max", "y = Max({0}, x, {[3,1,1] -1 0 2})", "Max", "line line"),
    Row("Max", "y = Max(x, {[5] -1 0 2 1 1})", "Max", "line line"),
    Row("Max", "y = Max(x)", "Max", "line"),
    Row("Min", "y = Min(x, {0.5})", "Min", "line line"),
    Row("Min", "y = Min({[3,1,1] -1 0 2}, x)", "Min", "line line"),
    Row("ThresholdedRelu", "y = ThresholdedRelu<alpha=1.5>(x)", "ThresholdedRelu", "line line", (0,)),
    Row("ThresholdedRelu", "y = ThresholdedRelu<alpha=0.0>(x)", "ThresholdedRelu", "line line"),
    Row("HardSigmoid", "y = HardSigmoid(x)", "HardSigmoid", "line line line"),
    Row("HardSigmoid", "y = HardSigmoid<alpha=0.16666667, beta=0.5>(x)", "HardSigmoid", "line line line"),
    Row("HardSigmoid", "y = HardSigmoid<alpha=-0.5, beta=0.25>(x)", "HardSigmoid", "line line line"),
    Row("HardSigmoid", "y = HardSigmoid<alpha=0.0, beta=0.25>(x)", "HardSigmoid", "line"),
    Row("HardSwish", "y = HardSwish(x)", "HardSwish", "line curve line"),
    Row("HardSwish", "g = HardSigmoid<alpha=0.16666667>(x) y = Mul(g, x)", "HardSwish", "line curve line"),
    Row(
        "HardSwish",
        "u = Add(x, {3}) g = Clip(u, {0}, {6}) v = Mul(x, g) y = Div(v, {6})",
        "HardSwish",
        "line curve line",
    ),
    Row(
        "HardSwish",
        "u = Add({3}, x) g = Clip(u, {0}, {6}) v = Div(g, {6}) y = Mul(v, x)",
        "HardSwish",
        "line curve line",
    ),
    Row(
        "HardSwish",
        "u = Add(x, {3}) a = Relu(u) g = Min(a, {6}) v = Mul(g, {0.16666667}) y = Mul(x, v)",
        "HardSwish",
        "line curve line",
    ),
    Row(
        "HardSwish",
        "u = Div(x, {6}) a = Add(u, {0.5}) g = Clip(a, {0}, {1}) y = Mul(x, g)",
        "HardSwish",
        "line curve line",
    ),
    Row("Elu", "y = Elu<alpha=0.5>(x)", "Elu", "tail curve line"),
    Row("Elu", "y = Elu<alpha=0.0>(x)", "Elu", "line line"),
    Row("Selu", "y = Selu(x)", "Selu", "tail curve line"),
    Row("Celu", "y = Celu<alpha=2.0>(x)", "Celu", "tail curve line"),
    Row("Softplus", "y = Softplus(x)", "Softplus", SMOOTH),
    Row(
        "Softplus·Greater·Where",
        "s = Softplus(x) c = Greater(x, {20}) y = Where(c, x, s)",
        "Softplus",
        "tail curve line",
    ),
    Row(
        "Softplus·Greater·Where",
        "u = Mul(x, {2}) s = Softplus(u) d = Div(s, {2}) c = LessOrEqual(u, {10}) y = Where(c, d, x)",
        "Softplus",
        "tail curve line",
    ),
    Row("Mish", "y = Mish(x)", "Mish", SMOOTH),
    Row("Mish", "s = Softplus(x) t = Tanh(s) y = Mul(t, x)", "Mish", SMOOTH),
    Row("Mish", "s = Softplus(x) c = Greater(x, {20}) w = Where(c, x, s) t = Tanh(w) y = Mul(x, t)", "Mish", SMOOTH),
    Row("Gelu", "y = Gelu(x)", "Gelu", SMOOTH),
    Row("Gelu", 'y = Gelu<approximate="tanh">(x)', "Gelu", SMOOTH),
    Row("com.microsoft::Gelu", "y = com.microsoft.Gelu(x)", "Gelu", SMOOTH),
    Row("com.microsoft::FastGelu", "y = com.microsoft.FastGelu(x)", "FastGelu", SMOOTH),
    Row("com.microsoft::QuickGelu", "y = com.microsoft.QuickGelu(x)", "QuickGelu", SMOOTH),
    Row("com.microsoft::QuickGelu", "y = com.microsoft.QuickGelu<alpha=1.0>(x)", "QuickGelu", SMOOTH),
    Row(
        "Gelu(erf)",
        "d = Div(x, {1.4142135}) e = Erf(d) a = Add(e, {1}) m = Mul(x, a) y = Mul(m, {0.5})",
        "Gelu(erf)",
        SMOOTH,
    ),
    Row(
        "Gelu(erf)",
        "h = Mul({0.5}, x) d = Mul(x, {0.70710677}) e = Erf(d) a = Add({1}, e) y = Mul(h, a)",
        "Gelu(erf)",
        SMOOTH,
    ),
    Row(
        "Gelu(erf)",
        "d = Div(x, {1.4142135}) e = Erf(d) a = Add(e, {1}) h = Mul(a, {0.5}) y = Mul(h, x)",
        "Gelu(erf)",
        SMOOTH,
    ),
    Row(
        "Gelu(erf)",
        "d = Div(x, {1.4142135}) e = Erf(d) a = Add(e, {1}) m = Mul(a, x) y = Div(m, {2})",
        "Gelu(erf)",
        SMOOTH,
    ),
    Row(
        "Gelu(erf)",
        "d = Div(x, {1.4142135}) e = Erf(d) h = Mul(e, {0.5}) a = Add(h, {0.5}) y = Mul(a, x)",
        "Gelu(erf)",
        SMOOTH,
    ),
    Row("Gelu(erf)", "d = Div(x, {1.4142135}) e = Erf(d) a = Add(e, {1}) y = Mul(x, a)", "Gelu(erf)", SMOOTH),
    Row(
        "Gelu(tanh)",
        "p = Pow(x, {3}) q = Mul(p, {0.044715}) r = Add(x, q) s = Mul(r, {0.7978846}) t = Tanh(s) "
        "a = Add(t, {1}) h = Mul(x, {0.5}) y = Mul(h, a)",
        "Gelu(tanh)",
        SMOOTH,
    ),
    Row(
        "Gelu(tanh)",
        "p = Mul(x, x) p3 = Mul(x, p) q = Mul({0.044715}, p3) r = Add(x, q) s = Mul({0.7978846}, r) "
        "t = Tanh(s) a = Add({1}, t) m = Mul(x, a) y = Mul({0.5}, m)",
        "Gelu(tanh)",
        SMOOTH,
    ),
    Row(
        "Gelu(tanh)",
        "k = Mul(x, {0.7978846}) q = Mul({0.044715}, x) q2 = Mul(q, x) r = Add({1}, q2) s = Mul(k, r) "
        "t = Tanh(s) a = Add({1}, t) h = Mul(x, {0.5}) y = Mul(h, a)",
        "Gelu(tanh)",
        SMOOTH,
    ),
    Row("Swish", "s = Sigmoid(x) y = Mul(x, s)", "Silu", SMOOTH),
    Row("Swish", "i = Identity(x) s = Sigmoid(i) y = Mul(s, x)", "Silu", SMOOTH),
    Row("Swish", "u = Mul(x, {1.702}) s = Sigmoid(u) y = Mul(x, s)", "QuickGelu", SMOOTH),
    Row("Swish", "u = Mul({-3}, x) s = Sigmoid(u) y = Mul(x, s)", "Swish", SMOOTH),
    Row("Swish", "y = Swish<alpha=2.0>(x)", "Swish", SMOOTH, opset=24),
    Row("Swish", "y = Swish<alpha=0.0>(x)", "Swish", "line", opset=24),
    Row("Where", "c = Greater(x, {0}) y = Where(c, x, {0})", "Where", "line line"),
    Row("Where", "c = GreaterOrEqual(x, {0}) m = Mul({0.1}, x) y = Where(c, x, m)", "Where", "line line"),
    Row("Where", "c = Less(x, {0}) m = Mul({0.1}, x) y = Where(c, m, x)", "Where", "line line"),
    Row("Where", "c = LessOrEqual(x, {0.5}) y = Where(c, {0}, x)", "Where", "line line", (0,)),
    Row("Where", "c = GreaterOrEqual(x, {0.5}) y = Where(c, x, {0})", "Where", "line line", (0,)),
    Row("Where", "c = Less({0.5}, x) n = Not(c) y = Where(n, {[1] 2}, x)", "Where", "line line", (0,)),
    Row("Where", "c = Less(x, {0.5}) m = Neg(x) s = Sub(m, {1}) y = Where(c, s, x)", "Where", "line line", (0,)),
    Row("Where", f"c = Greater(x, {{0}}) y = Where(c, x, {{[2,3,4,5]{' 0' * 120}}})", "Where", "line line"),
    Row("Where", "c = Less(x, {0}) b = Cast<to=9>(c) y = Where(b, {0}, x)", "Where", "line line"),
    Row("Where", "c = Greater(x, {0}) s = Shape(x) o = ConstantOfShape(s) y = Where(c, x, o)", "Where", "line line"),
    Row("Where", "c = Less(x, {1}) s = Shape<start=0>(x) o = Expand({1}, s) y = Where(c, o, x)", "Where", "line line"),
    Row("Mask", "c = Greater(x, {0}) m = Cast<to=1>(c) y = Mul(x, m)", "Mask", "line line"),
    Row("Mask", "c = GreaterOrEqual(x, {1.5}) m = Cast<to=1>(c) y = Mul(m, x)", "Mask", "line line", (0,)),
    Row("Mask", "c = Less(x, {1.5}) m = Cast<to=1>(c) y = Mul(m, x)", "Mask", "line line", (0,)),
    Row("Abs", "y = Abs(x)", "Abs", "line line"),
)


def model_of(body: str, opset: int = 20, shape: str = "2,3,4,5", dtype: str = "float") -> onnx.ModelProto:
    """A model of `body` from x to y; `{0.5}` and `{[3,1,1] 1 2 3}` stand for constants of the type of x."""
    heads: list[str] = []

    def constant(found: re.Match[str]) -> str:
        dims, values = found[1] or "", ", ".join(str(float(value)) for value in found[2].split())
        heads.append(f"c{len(heads)} = Constant<value = {dtype}{dims} {{{values}}}>()")
        return f"c{len(heads) - 1}"

    body = re.sub(r"\{(\[[\d,]+\])?([^}]+)\}", constant, body)
    imports = f'"": {opset}, "com.microsoft": 1'
    dims = f"[{shape}]" if shape else ""
    text = f"<ir_version: 8, opset_import: [{imports}]> g ({dtype}{dims} x) => ({dtype}{dims} y)"
    return onnx.parser.parse_model(f"{text} {{ {' '.join((*heads, body))} }}")


def read(model: onnx.ModelProto) -> Rectifier:
    found, refused = find_rectifiers(view_from_model(ir.from_proto(model)))
    assert refused == ()
    assert len(found) == 1
    return found[0]


def outputs(model: onnx.ModelProto, z: np.ndarray) -> list[np.ndarray]:
    """y by onnxruntime without its optimiser where it knows the opset, and by onnx.reference where it knows all."""
    try:
        found = [run_runtime(model, {"x": z})[0]]
    except RuntimeRefusal:
        found = []
    if not any(node.domain for node in model.graph.node):
        with np.errstate(all="ignore"):
            found.append(ReferenceEvaluator(model).run(None, {"x": z})[0])
    assert found
    return found


def along(value: object, axis: int | None) -> np.ndarray:
    """A number, or one per channel, shaped to broadcast over z."""
    array = np.asarray(value, np.float64)
    return array.reshape([-1 if i == axis else 1 for i in range(4)]) if array.ndim else array


def observations(rectifier: Rectifier) -> np.ndarray:
    """Random z on several scales, the knots and their neighbours among them."""
    rng = np.random.default_rng(7)
    z = rng.normal(size=SHAPE).astype(np.float32) * rng.choice(np.float32([1, 5, 30]), SHAPE)
    for index, knot in enumerate(rectifier.activation.knots):
        at = np.broadcast_to(along(knot, rectifier.axis), SHAPE)[..., index].astype(np.float32)
        z[..., index] = np.where(rng.random(at.shape) < 0.5, at, np.nextafter(at, np.float32(rng.choice([-99, 99]))))
    return z


def pieces_of(rectifier: Rectifier, z: np.ndarray) -> np.ndarray:
    """The piece of every z, ties by `knot_above`."""
    piece = np.zeros(SHAPE, int)
    activation = rectifier.activation
    above = activation.knot_above or (False,) * len(activation.knots)
    for knot, inclusive in zip(activation.knots, above, strict=True):
        at = along(knot, rectifier.axis)
        piece += np.where(z == at, inclusive, z > at)
    return piece


def test_every_registered_rectifier_has_a_row() -> None:
    assert {row.name for row in ROWS} == {*ACTIVATIONS, *PATTERNS}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_is_found(row: Row) -> None:
    found = read(model_of(row.body, row.opset))
    assert (found.op, found.operand, found.output, found.key) == (row.op, "x", "y", "y")
    assert found.version == (1 if "::" in row.name else row.opset)
    assert found.channels == SHAPE[found.axis or 0]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_pieces(row: Row) -> None:
    activation = read(model_of(row.body, row.opset)).activation
    kinds = [
        "line" if activation.is_exact(i) else "tail" if line else "curve" for i, line in enumerate(activation.lines)
    ]
    assert kinds == row.pieces.split()
    assert tuple(k for k in range(len(activation.knots)) if not activation.is_continuous(k)) == row.jumps
    for below, above in zip(activation.knots, activation.knots[1:], strict=False):
        assert np.all(np.asarray(below) < np.asarray(above))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_lines_are_what_the_operator_computes(row: Row) -> None:
    model = model_of(row.body, row.opset)
    rectifier = read(model)
    z = observations(rectifier)
    piece = pieces_of(rectifier, z)
    for y in outputs(model, z):
        for index, line in enumerate(rectifier.activation.lines):
            if line is None:
                continue
            slope, intercept = (along(number, rectifier.axis) for number in line)
            scale = np.abs(slope * z) + np.abs(intercept)
            allowed = ULPS * np.maximum(1, scale)
            if not rectifier.activation.is_exact(index):
                allowed = allowed + TAIL * np.maximum(1, np.abs(z))
            error = np.abs(y - (slope * z + intercept))
            assert np.all((error <= allowed)[piece == index]), (index, error[piece == index].max())


def test_every_kind_of_piece_was_observed() -> None:
    """The check above would be empty if z missed a piece."""
    for row in ROWS:
        rectifier = read(model_of(row.body, row.opset))
        seen = set(np.unique(pieces_of(rectifier, observations(rectifier))))
        assert seen == set(range(rectifier.activation.regimes)), row
