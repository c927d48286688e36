"""Finding rectifiers in graphs: look-alikes, refusals, parts of patterns, channel axes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.rectifiers import Rectifier, RefusedRectifier, channel_axes, find_rectifiers


def graph(
    body: str, *, opset: int = 20, x: str = "float[2,3,4,5]", more: str = "", head: str = "", y: str = "float[]"
) -> GraphView:
    """A view of `body`, from x (and `more` inputs) to y; `head` declares constants c0, c1 …."""
    more = f", {more}" if more else ""
    imports = f'"": {opset}, "com.microsoft": 1, "custom": 1'
    text = f"<ir_version: 8, opset_import: [{imports}]> g ({x} x{more}) => ({y} y) {{ {head} {body} }}"
    return view_from_model(ir.from_proto(onnx.parser.parse_model(text)))


def const(value: str, name: str = "c", dims: str = "", dtype: str = "float") -> str:
    return f"{name} = Constant<value = {dtype}{dims} {{{value}}}>()"


def found(view: GraphView) -> list[tuple[str, str, str]]:
    rectifiers, refused = find_rectifiers(view)
    assert refused == ()
    return [(r.op, r.operand, r.key) for r in rectifiers]


def only(view: GraphView) -> Rectifier:
    (rectifier,), refused = find_rectifiers(view)
    assert refused == ()
    return rectifier


def only_refused(view: GraphView) -> RefusedRectifier:
    rectifiers, (refused,) = find_rectifiers(view)
    assert rectifiers == ()
    return refused


OTHER = "float[2,3,4,5] z"
ONE, ZERO, HALF, ROOT = const("1.0", "one"), const("0.0", "zero"), const("0.5", "half"), const("1.4142135", "root")
GELU = "d = Div(x, root) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)"
TANH = (
    "p = Pow(x, three) q = Mul(p, cubic) r = Add(x, q) s = Mul(r, slope) t = Tanh(s) a = Add(t, one) "
    "h = Mul(x, half) y = Mul(h, a)"
)
TANH_CONSTANTS = {"three": "3.0", "cubic": "0.044715", "slope": "0.7978846", "one": "1.0", "half": "0.5"}

LOOK_ALIKES = {
    "sigmoid of another value": "s = Sigmoid(z) y = Mul(x, s)",
    "sigmoid of a shifted value": f"{ONE} u = Add(x, one) s = Sigmoid(u) y = Mul(x, s)",
    "twice silu": f"{const('2.0')} s = Sigmoid(x) u = Mul(x, c) y = Mul(u, s)",
    "silu plus x": f"{ONE} s = Sigmoid(x) u = Add(s, one) y = Mul(x, u)",
    "where on another value": f"{ZERO} c = Greater(x, zero) y = Where(c, z, zero)",
    "where compares two values": f"{ZERO} c = Greater(x, z) y = Where(c, x, zero)",
    "where gives another value": f"{ZERO} c = Greater(x, zero) y = Where(c, x, z)",
    "where gives a square": f"{ZERO} c = Greater(x, zero) q = Mul(x, x) y = Where(c, q, zero)",
    "where gives a step": f"{ZERO} {ONE} c = Greater(x, zero) y = Where(c, one, zero)",
    "where is equal": f"{ZERO} c = Equal(x, zero) y = Where(c, x, zero)",
    "zeros like another value": f"{ZERO} c = Greater(x, zero) s = Shape(z) o = ConstantOfShape(s) y = Where(c, x, o)",
    "zeros like a part of x": (
        f"{ZERO} c = Greater(x, zero) s = Shape<start=1>(x) o = ConstantOfShape(s) y = Where(c, x, o)"
    ),
    "zeros like the batch of x": (
        f"{ZERO} c = Greater(x, zero) s = Shape<end=1>(x) o = ConstantOfShape(s) y = Where(c, x, o)"
    ),
    "max of two values": "y = Max(x, z)",
    "min of two values": f"{ZERO} y = Min(x, z, zero)",
    "mask of another value": f"{ZERO} c = Greater(z, zero) m = Cast<to=1>(c) y = Mul(x, m)",
    "mask per channel": f"{const('1, 2, 3', 'k', '[3,1,1]')} c = Greater(x, k) m = Cast<to=1>(c) y = Mul(x, m)",
    "gelu with another root": f"{const('1.5', 'root')} {ONE} {HALF} {GELU}",
    "gelu with another half": f"{ROOT} {ONE} {const('0.6', 'half')} {GELU}",
    "gelu with another one": f"{ROOT} {const('1.1', 'one')} {HALF} {GELU}",
    "gelu of another value": f"{ROOT} {ONE} {HALF} {GELU.replace('Div(x', 'Div(z')}",
    "mish of another value": "s = Softplus(z) t = Tanh(s) y = Mul(x, t)",
    "tanh without softplus": "t = Tanh(x) y = Mul(x, t)",
    "hard swish of another value": "g = HardSigmoid<alpha=0.2>(z) y = Mul(x, g)",
    "sigmoid of a custom domain": "s = custom.Sigmoid(x) y = Mul(x, s)",
    "relu of a custom domain": "y = custom.Relu(x)",
    "sigmoid alone": "y = Sigmoid(x)",
    "enlarged by its condition": f"{const('0.0', 'k', '[1,1,1,1,1]')} c = Greater(x, k) y = Where(c, x, k)",
    "enlarged by its factor": f"{const('1.0', 'k', '[1,1,1,1,1]')} s = Sigmoid(x) u = Mul(s, k) y = Mul(x, u)",
}


@pytest.mark.parametrize("body", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_look_alikes_are_not_matched(body: str) -> None:
    names = [entry for entry in found(graph(body, more=OTHER)) if entry[2] == "y"]
    assert names == []


def test_the_right_constants_are_matched() -> None:
    """The look-alikes above differ from this in one place."""
    assert found(graph(GELU, head=f"{ROOT} {ONE} {HALF}")) == [("Gelu(erf)", "x", "y")]
    assert found(graph(f"{ZERO} c = Greater(x, zero) y = Where(c, x, zero)")) == [("Where", "x", "y")]
    assert found(graph(f"{const('1.0', 'k', '[1,1,1,1]')} s = Sigmoid(x) u = Mul(s, k) y = Mul(x, u)")) == [
        ("Silu", "x", "y")
    ]


@pytest.mark.parametrize("wrong", TANH_CONSTANTS)
def test_gelu_tanh_with_one_wrong_constant(wrong: str) -> None:
    right = " ".join(const(value, name) for name, value in TANH_CONSTANTS.items())
    assert found(graph(TANH, head=right)) == [("Gelu(tanh)", "x", "y")]
    scaled = {**TANH_CONSTANTS, wrong: "2.0"}
    assert found(graph(TANH, head=" ".join(const(value, name) for name, value in scaled.items()))) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("u = Softplus(x) c = Greater(x, k) w = Where(c, x, u) t = Tanh(w) y = Mul(x, t)", "early switch"),
        ("v = Mul(x, k) u = Softplus(v) c = Greater(x, k) y = Where(c, x, u)", "beta on one side only"),
        ("u = Softplus(x) v = Add(u, k) c = Greater(x, k) y = Where(c, x, v)", "shifted curve"),
        ("u = Softplus(x) c = Greater(z, k) y = Where(c, x, u)", "switched by another value"),
        ("u = Softplus(z) c = Greater(x, k) y = Where(c, x, u)", "curve of another value"),
        ("u = Softplus(x) c = Greater(x, k) y = Where(c, u, x)", "swapped branches"),
        ("u = Softplus(x) c = Greater(x, k) y = Where(c, k, u)", "constant branch"),
    ],
)
def test_softplus_look_alikes(body: str, reason: str) -> None:
    ops = [op for op, _, key in found(graph(body, head=const("2.0", "k"), more=OTHER)) if key == "y"]
    assert ops == [], reason


def test_switch_below_the_left_tail_is_no_softplus() -> None:
    body = f"{const('-100.0', 'k')} u = Softplus(x) c = Greater(x, k) y = Where(c, x, u)"
    assert [op for op, _, key in found(graph(body)) if key == "y"] == []


def test_hard_swish_look_alikes() -> None:
    numbers = f"{const('3.0', 'three')} {const('6.0', 'six')} {ZERO} {ONE}"
    tail = "v = Mul(x, g) y = Div(v, six)"
    for body in (
        f"u = Add(x, three) g = Clip(u, zero, three) {tail}",
        f"u = Add(x, three) g = Clip(u, one, six) {tail}",
        f"u = Add(x, three) g = Clip(u, zero) {tail}",
        f"u = Sub(three, x) g = Clip(u, zero, six) {tail}",
        f"u = Add(z, three) g = Clip(u, zero, six) {tail}",
        f"u = Add(x, three) w = Clip(u, zero, six) g = Add(w, one) {tail}",
        f"u = Add(x, three) w = Relu(u) g = Max(w, six) {tail}",
        f"u = Add(x, three) g = Min(u, six) {tail}",
        "g = HardSigmoid<alpha=-0.2>(x) y = Mul(x, g)",
    ):
        assert "HardSwish" not in [op for op, _, _ in found(graph(f"{numbers} {body}", more=OTHER))], body


REFUSALS = {
    "PRelu slope free": ("y = PRelu(x, z)", 20, "slope is not a constant"),
    "PRelu wrong length": (f"{const('1, 2, 3', dims='[3]')} y = PRelu(x, c)", 20, "does not broadcast"),
    "PRelu too many axes": (f"{const('1, ' * 19 + '2', dims='[4,5]')} y = PRelu(x, c)", 20, "more than one axis"),
    "PRelu before opset 7": (f"{const('1, 2, 3', dims='[3]')} y = PRelu(x, c)", 6, "before opset 7"),
    "Clip bound free": ("k = ReduceMax<keepdims=0>(z) y = Clip(x, k)", 20, "not one constant number"),
    "Clip of attributes": ("y = Clip<min=2.0, max=-2.0>(x)", 10, "min 2 is above max -2"),
    "Max wrong axis": (f"{const('1, 2, 3', dims='[3]')} y = Max(x, c)", 20, "does not broadcast"),
    "Max larger than x": (f"{const('1, 2', dims='[2,1,1,1,1]')} y = Max(x, c)", 20, "does not broadcast"),
    "Gelu of a new kind": ('y = Gelu<approximate="cubic">(x)', 20, "'cubic'"),
    "FastGelu with a bias": (f"{const('1, 2, 3, 4, 5', dims='[5]')} y = com.microsoft.FastGelu(x, c)", 20, "bias"),
    "Celu": ("y = Celu<alpha=-1.0>(x)", 20, "alpha is -1"),
    "type unknown": ("u = custom.Thing(x) y = Relu(u)", 20, "element type"),
}


@pytest.mark.parametrize(("body", "opset", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(body: str, opset: int, reason: str) -> None:
    refused = only_refused(graph(body, opset=opset, more=OTHER))
    assert reason in refused.refused.reason
    assert refused.key == "y"
    assert refused.label.endswith("→y")


@pytest.mark.parametrize(
    ("op_type", "values", "reason"),
    [
        ("Max", [np.inf], "not finite"),
        ("Min", [np.nan], "NaN"),
        ("Max", [np.inf, 0, 0, 0, 0], "not finite"),
        ("PRelu", [np.inf], "slope is not finite"),
        ("Clip", [np.nan], "leave no finite value"),
        ("Clip", [np.inf], "leave no finite value"),
    ],
)
def test_refuses_what_is_not_finite(op_type: str, values: list[float], reason: str) -> None:
    assert reason in only_refused(with_constant(op_type, values)).refused.reason


@pytest.mark.parametrize(("op_type", "value"), [("Max", -np.inf), ("Min", np.inf), ("Clip", -np.inf)])
def test_infinite_bound_that_does_nothing(op_type: str, value: float) -> None:
    assert only(with_constant(op_type, [value])).activation.names == ("ON",)


def with_constant(op_type: str, values: list[float], dtype: str = "FLOAT", dims: tuple[int, ...] = ()) -> GraphView:
    """`y = op(x, c)` with c given as an initializer of any type, which may hold infinities."""
    kind = getattr(TensorProto, dtype)
    constant = helper.make_tensor("c", kind, dims or ([len(values)] if len(values) > 1 else []), values)
    node = helper.make_node(op_type, ["x", "c"], ["y"])
    x, y = (helper.make_tensor_value_info(name, kind, [2, 3, 4, 5]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], [constant]), opset_imports=[helper.make_opsetid("", 20)]
    )
    return view_from_model(ir.from_proto(model))


def test_integers_and_constants_are_skipped() -> None:
    assert found(graph("y = Relu(x)", x="int32[2,3]", y="int32[]")) == []
    assert found(graph(f"{const('3', dtype='int64')} y = Max(x, c)", x="int64[2,3]", y="int64[]")) == []
    assert found(graph(f"{const('1, -2', dims='[2]')} r = Relu(c) y = Add(x, r)", x="float[2,2]")) == []


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_other_floats(dtype: str) -> None:
    rectifier = only(with_constant("PRelu", [0.5, 0.25, 0.125], dtype, (3, 1, 1)))
    assert rectifier.activation.line(0, 3)[0].tolist() == [0.5, 0.25, 0.125]


def test_pattern_wins_over_its_parts() -> None:
    head = f"{const('3.0', 'three')} {const('6.0', 'six')} {ZERO}"
    body = "u = Add(x, three) g = Clip(u, zero, six) v = Mul(x, g) y = Div(v, six)"
    assert found(graph(body, head=head)) == [("HardSwish", "x", "y")]
    body = "s = Softplus(x) c = Greater(x, k) w = Where(c, x, s) t = Tanh(w) y = Mul(x, t)"
    assert found(graph(body, head=const("20.0", "k"))) == [("Mish", "x", "y")]


def test_part_with_another_consumer_is_listed_too() -> None:
    body = "s = Softplus(x) t = Tanh(s) m = Mul(x, t) y = Add(m, s)"
    assert found(graph(body)) == [("Softplus", "x", "s"), ("Mish", "x", "m")]


def test_part_that_is_an_output_is_listed_too() -> None:
    text = """<ir_version: 8, opset_import: ["": 20]> g (float[2,3] x) => (float[2,3] y, float[2,3] s)
        { s = Softplus(x) t = Tanh(s) y = Mul(x, t) }"""
    view = view_from_model(ir.from_proto(onnx.parser.parse_model(text)))
    assert found(view) == [("Softplus", "x", "s"), ("Mish", "x", "y")]


def test_scaled_pattern_keeps_the_smaller_one() -> None:
    assert found(graph("s = Sigmoid(x) m = Mul(x, s) y = Mul(m, c)", head=const("3.0"))) == [("Silu", "x", "m")]


def test_order_and_labels() -> None:
    view = graph("a = Relu(x) b = Clip(a) s = Sigmoid(b) y = Mul(b, s)")
    rectifiers, _ = find_rectifiers(view)
    assert [r.key for r in rectifiers] == ["a", "b", "y"]
    assert [r.label for r in rectifiers] == ["Relu→a", "Clip→b", "Mul→y"]
    assert [r.operand for r in rectifiers] == ["x", "a", "b"]
    assert all(r.output == r.key and r.version == 20 for r in rectifiers)


def test_axis_of_a_parameter_wins_over_the_usual_one() -> None:
    width = only(graph("y = PRelu(x, c)", head=const("1, 2, 3", dims="[3]"), x="float[2,3,4,3]"))
    assert (width.axis, width.channels) == (3, 3)
    channel = only(graph("y = PRelu(x, c)", head=const("1, 2, 3", dims="[3,1,1]"), x="float[2,3,4,3]"))
    assert (channel.axis, channel.channels) == (1, 3)


def test_dynamic_shapes() -> None:
    head = const("1, 2, 3", dims="[3,1,1]")
    assert only(graph("y = PRelu(x, c)", head=head, x="float[N,C,H,W]")).channels == 3
    assert only(graph("y = Relu(x)", x="float[N,C,H,W]")).channels is None
    assert only(graph("s = Sigmoid(x) y = Mul(x, s)", x="float[N,3,H,W]")).channels == 3
    refused = only_refused(graph("y = Max(x, c)", head=head, x="float[N,C,H,W]"))
    assert "does not broadcast" in refused.refused.reason


@pytest.mark.parametrize(
    "fill", ["o = ConstantOfShape(s)", "o = ConstantOfShape<value = float[1] {-0.0}>(s)", "o = Expand(zero, s)"]
)
def test_zeros_like_a_dynamic_shape(fill: str) -> None:
    body = f"{ZERO} c = Greater(x, zero) s = Shape(x) {fill} y = Where(c, x, o)"
    assert only(graph(body, x="float[N,3,H,W]")).activation.names == ("OFF", "ON")


def test_unknown_rank_has_no_axis() -> None:
    text = """<ir_version: 8, opset_import: ["": 20, "custom": 1]> g (float[2,3] x) => (float y)
        <float u> { u = custom.Thing(x) y = Relu(u) }"""
    model = onnx.parser.parse_model(text)
    model.graph.value_info[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rectifier = only(view_from_model(ir.from_proto(model)))
    assert (rectifier.axis, rectifier.channels) == (None, None)


SAME = "float[2,8,4,5]"
AXES = {
    "input": ("y = Relu(x)", SAME, 1),
    "sequence": ("y = Relu(x)", "float[2,7,8]", 2),
    "features": ("y = Relu(x)", "float[2,8]", 1),
    "vector": ("y = Relu(x)", "float[8]", 0),
    "conv 1-D": ("w = RandomNormal<shape=[6,8,3]>() v = Conv(x, w) y = Relu(v)", "float[2,8,7]", 1),
    "matmul": ("w = RandomNormal<shape=[5,6]>() v = MatMul(x, w) y = Abs(v)", SAME, 3),
    "transpose": ("y = Transpose<perm=[0,2,3,1]>(x)", SAME, 3),
    "transpose all": ("y = Transpose(x)", SAME, 2),
    "flatten": ("y = Flatten(x)", SAME, 1),
    "flatten one pixel": ("v = GlobalAveragePool(x) y = Flatten(v)", SAME, 1),
    "reshape keeps": (f"{const('2, 8, 20', dims='[3]', dtype='int64')} y = Reshape(x, c)", SAME, 1),
    "reshape tokens": (f"{const('14, 8', dims='[2]', dtype='int64')} y = Reshape(x, c)", "float[2,7,8]", 1),
    "reshape splits": (f"{const('2, 2, 4, 20', dims='[4]', dtype='int64')} y = Reshape(x, c)", SAME, 1),
    "squeeze": (f"{const('0', dims='[1]', dtype='int64')} y = Squeeze(x, c)", "float[1,8,4,5]", 0),
    "squeeze all": ("y = Squeeze(x)", "float[2,8,1,1]", 1),
    "unsqueeze": (f"{const('1', dims='[1]', dtype='int64')} y = Unsqueeze(x, c)", SAME, 2),
    "reduce space": (f"{const('2, 3', dims='[2]', dtype='int64')} y = ReduceMean<keepdims=0>(x, c)", SAME, 1),
    "reduce all space": (f"{const('2, 3', dims='[2]', dtype='int64')} y = ReduceMean(x, c)", SAME, 1),
    "reduce channels": (f"{const('1', dims='[1]', dtype='int64')} y = ReduceMean<keepdims=0>(x, c)", SAME, 2),
    "concat": ("v = Transpose<perm=[0,2,3,1]>(x) y = Concat<axis=3>(v, v)", SAME, 3),
    "broadcast sum": (
        "w = RandomNormal<shape=[5]>() v = Transpose<perm=[0,2,3,1]>(x) y = Add(w, v)",
        "float[2,5,4,3]",
        3,
    ),
    "layer norm": ("w = RandomNormal<shape=[5]>() y = LayerNormalization(x, w)", SAME, 3),
}


@pytest.mark.parametrize(("body", "x", "axis"), AXES.values(), ids=AXES)
def test_channel_axes(body: str, x: str, axis: int) -> None:
    assert channel_axes(graph(body, x=x))["y"] == axis


def test_long_chains_cost_linear_time() -> None:
    """3,000 gated products in a row: every operator looks back a bounded way."""
    body = " ".join(f"s{i} = Sigmoid(v{i}) v{i + 1} = Mul(v{i}, s{i})" for i in range(1500))
    view = graph(f"v0 = Identity(x) {body} y = Identity(v1500)", x="float[2,3]")
    assert len(found(view)) == 1500
