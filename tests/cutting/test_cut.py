"""Constant channels go from producers and consumers, or the reason why they stay is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe.evidence import Observed, Proved
from tests.helpers.build import Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.cutting import Result, cut
from tests.helpers.reference import reference_values

STATIC, DYNAMIC = (2, 4, 6, 5), ("N", 4, "H", "W")
SIZES = {"N": 2, "H": 6, "W": 5}
GONE = (1, 4)
"""Channels whose filters are all zero."""


def dead_conv(
    g: Builder, x: str, sizes: tuple[int, int], gone: Sequence[int] = GONE, bias: float = -1.0, **at: Any
) -> str:
    """3x3 with padding; the filters `gone` are zero and their biases `bias`."""
    inputs, outputs = sizes
    weight, shift = g.random(outputs, inputs, 3, 3), g.random(outputs)
    weight[list(gone)], shift[list(gone)] = 0, bias
    return g.node("Conv", x, g.constant(weight), g.constant(shift), pads=[1, 1, 1, 1], **at)


def dead_gemm(g: Builder, x: str, sizes: tuple[int, int], gone: Sequence[int] = GONE, bias: float = -1.0) -> str:
    inputs, outputs = sizes
    weight, shift = g.random(outputs, inputs).T.copy(), g.random(outputs)
    weight[:, list(gone)], shift[list(gone)] = 0, bias
    return g.node("Gemm", x, g.constant(weight), g.constant(shift))


def dead_matmul(g: Builder, x: str, sizes: tuple[int, int], bias: float = -1.0) -> str:
    inputs, outputs = sizes
    weight, shift = g.random(outputs, inputs).T.copy(), g.random(outputs)
    weight[:, list(GONE)], shift[list(GONE)] = 0, bias
    return g.node("Add", g.constant(shift), g.node("MatMul", x, g.constant(weight)))


def dead_relu(g: Builder, bias: float = -1.0) -> str:
    """Eight channels after a rectifier, two of them constant: 0 for a negative bias, else the bias."""
    return g.node("Relu", dead_conv(g, "x", (4, 8), bias=bias))


def conv(g: Builder, x: str, channels: int = 8, **at: Any) -> str:
    """The consumer: 3x3, padded unless told otherwise."""
    return g.conv(x, (channels, 3), (3, 3), **({"pads": 1} | at))


def clip(g: Builder, x: str, low: float, high: float) -> str:
    return g.node("Clip", x, g.constant(low), g.constant(high))


def batch_norm(g: Builder, x: str) -> str:
    return g.batch_norm(x, 8)


def through(op_type: str, **at: Any) -> Callable[[Builder], str]:
    return lambda g: conv(g, g.node(op_type, dead_relu(g), **at))


def pooled(g: Builder, bias: float, **at: Any) -> str:
    return conv(g, g.node("AveragePool", dead_relu(g, bias), kernel_shape=[2, 2], **at), pads=0)


def mobile(g: Builder, bias: float = -1.0, pads: int = 1) -> str:
    """Pointwise, depthwise, pointwise."""
    y = clip(g, dead_conv(g, "x", (4, 8), bias=bias), 0.0, 6.0)
    return conv(g, g.node("Relu", g.conv(y, (8, 8), (3, 3), group=8, pads=pads)))


def doubled(g: Builder) -> str:
    """Depthwise with two filters a channel."""
    return conv(g, g.conv(dead_relu(g), (8, 16), (3, 3), group=8, pads=1), 16)


def concat(g: Builder) -> str:
    other = g.node("Relu", dead_conv(g, "x", (4, 5), (0, 2, 3)))
    return conv(g, g.node("Relu", g.node("Concat", "x", dead_relu(g), other, axis=1)), 17)


def residual(g: Builder, gone: Sequence[int]) -> str:
    stem = g.node("Relu", dead_conv(g, "x", (4, 8)))
    return conv(g, g.node("Relu", g.node("Add", stem, dead_conv(g, stem, (8, 8), gone, 0.0))))


def flattened(g: Builder, bias: float = -1.0, **at: Any) -> str:
    y = g.node("Flatten", g.node("MaxPool", dead_relu(g, bias), kernel_shape=[2, 2], strides=[2, 2]))
    return g.gemm(y, (8 * 3 * 2, 3), **at)


def reshaped(g: Builder, *target: int, **at: Any) -> str:
    y = g.node("Reshape", dead_relu(g), g.constant(np.array(target)), **at)
    return g.gemm(y, (8 * 6 * 5, 3))


def gemm_without_bias(g: Builder) -> str:
    y = g.node("Relu", dead_gemm(g, g.node("Flatten", "x"), (120, 8), bias=1.5))
    return g.node("Gemm", y, g.constant(g.random(3, 8)), transB=1, alpha=0.5)


def channels_last(g: Builder, bias: float) -> str:
    y = dead_matmul(g, g.node("Transpose", "x", perm=[0, 2, 3, 1]), (4, 8), bias)
    return g.matmul(g.node("Relu", y), (8, 3), bias=True)


def prelu(g: Builder) -> str:
    slopes = np.zeros((8, 1, 1), np.float32)
    slopes[1] = 0.25
    return conv(g, g.node("PRelu", dead_conv(g, "x", (4, 8)), g.constant(slopes)))


def floor(g: Builder) -> str:
    """Max of a number per channel: 0 for both constant ones."""
    lows = np.linspace(-0.5, 0.5, 8, dtype=np.float32).reshape(8, 1, 1)
    lows[list(GONE)] = 0
    return conv(g, g.node("Max", g.constant(lows), dead_conv(g, "x", (4, 8))))


def masked(g: Builder) -> str:
    z = dead_conv(g, "x", (4, 8))
    return conv(g, g.node("Mul", z, g.node("Cast", g.node("Greater", z, g.constant(0.0)), to=TensorProto.FLOAT)))


def silu(g: Builder) -> str:
    """Curved, but constant all the same where the filter is zero and its bias too."""
    z = dead_conv(g, "x", (4, 8), bias=0.0)
    return conv(g, g.node("Mul", z, g.node("Sigmoid", z)))


def mean_then_gemm(g: Builder) -> str:
    y = g.node("ReduceMean", dead_relu(g, 1.5), axes=[2, 3], keepdims=0)
    return g.gemm(y, (8, 3), transB=1)


def squeeze(g: Builder) -> str:
    y = g.node("Squeeze", g.node("GlobalMaxPool", dead_relu(g)), g.constant(np.array([2, 3])))
    return g.gemm(g.node("Dropout", g.node("Identity", y)), (8, 3))


def dropout(g: Builder) -> str:
    """With a mask that nothing uses."""
    value, _ = g.node_n("Dropout", dead_relu(g), outs=("dropped", "mask"))
    return conv(g, value)


def two_layers(g: Builder) -> str:
    """The second layer's filter 2 reads only channels that the first leaves dead."""
    weight = g.random(6, 8, 3, 3)
    weight[2] = 0
    weight[2, list(GONE)] = 1.0
    return conv(g, g.node("Relu", g.node("Conv", dead_relu(g), g.constant(weight), pads=[1, 1, 1, 1])), 6)


def unread(g: Builder) -> str:
    weight = g.random(3, 8, 3, 3)
    weight[:, [0, 5, 6]] = 0
    y = g.node("Relu", g.conv("x", (4, 8), (3, 3), pads=1))
    return g.node("Conv", y, g.constant(weight), pads=[1, 1, 1, 1])


def shared(g: Builder) -> str:
    """One weight for two layers; only one of them loses a channel."""
    weight = g.constant(g.random(8, 8, 3, 3))
    first = g.node("Conv", dead_relu(g), weight, pads=[1, 1, 1, 1])
    return g.node("Conv", g.node("Tanh", first), weight, pads=[1, 1, 1, 1])


@dataclass(frozen=True)
class Case:
    """How many channels go, and the reasons (parts of them) for those that stay."""

    make: Callable[[Builder], str]
    channels: int
    reasons: tuple[str, ...] = ()
    static_only: bool = False
    opset: int = 17
    at: Mapping[str, Any] = field(default_factory=dict)


CUT: dict[str, Case] = {
    "padded consumer": Case(lambda g: conv(g, dead_relu(g)), 2),
    "two consumers": Case(lambda g: g.node("Add", conv(g, y := dead_relu(g)), conv(g, y)), 2),
    "no rectifier": Case(lambda g: conv(g, dead_conv(g, "x", (4, 8), bias=0.0)), 2),
    "MaxPool": Case(through("MaxPool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]), 2),
    "AveragePool": Case(lambda g: pooled(g, 1.5), 2),
    "AveragePool, padding counted, zeros": Case(lambda g: pooled(g, -1.0, pads=[1, 1, 1, 1], count_include_pad=1), 2),
    "AveragePool, padding left out": Case(lambda g: pooled(g, 1.5, pads=[1, 1, 1, 1]), 2),
    "GlobalAveragePool": Case(through("GlobalAveragePool"), 2),
    "mean over space, Gemm": Case(mean_then_gemm, 2),
    "GlobalMaxPool, Squeeze, Gemm": Case(squeeze, 2),
    "BatchNormalization before": Case(
        lambda g: conv(g, g.node("Relu", batch_norm(g, dead_conv(g, "x", (4, 8), bias=-9.0)))), 2
    ),
    "BatchNormalization behind, no padding": Case(lambda g: conv(g, batch_norm(g, dead_relu(g)), pads=0), 2),
    "BatchNormalization behind, padding": Case(lambda g: conv(g, batch_norm(g, dead_relu(g))), 1, ("border",)),
    "depthwise": Case(mobile, 2),
    "depthwise, constants, no padding": Case(lambda g: mobile(g, 2.0, 0), 2, ()),
    "depthwise, two filters a channel": Case(doubled, 1, ("border",)),
    "constants, no padding": Case(lambda g: conv(g, dead_relu(g, 1.5), pads=0), 2),
    "constants, no bias": Case(lambda g: conv(g, dead_relu(g, 1.5), pads=0, bias=False), 2),
    "constants, padding": Case(lambda g: conv(g, dead_relu(g, 1.5)), 1, ("border",)),
    "Clip(1, 3), padding": Case(lambda g: conv(g, clip(g, dead_conv(g, "x", (4, 8)), 1.0, 3.0)), 1, ("border",)),
    "HardSigmoid, padding": Case(
        lambda g: conv(g, g.node("HardSigmoid", dead_conv(g, "x", (4, 8), (0, 3, 5), 9.0))), 2, ("border",)
    ),
    "Concat": Case(concat, 5),
    "sum of two dead ones": Case(lambda g: residual(g, GONE), 2),
    "Flatten, Gemm": Case(flattened, 2, static_only=True),
    "Flatten, Gemm, constants": Case(lambda g: flattened(g, 1.5, transB=1, alpha=0.5, beta=2.0), 2, static_only=True),
    "Reshape (0, -1), Gemm": Case(lambda g: reshaped(g, 0, -1), 2, static_only=True),
    "Reshape (-1, 240), Gemm": Case(lambda g: reshaped(g, -1, 240), 2, static_only=True),
    "Reshape (2, 240), Gemm": Case(lambda g: reshaped(g, 2, 240), 2, static_only=True),
    "Gemm, Gemm without bias": Case(gemm_without_bias, 2, static_only=True),
    "channels last, MatMul": Case(lambda g: channels_last(g, -1.0), 2),
    "channels last, MatMul, constants": Case(lambda g: channels_last(g, 1.5), 1, ("no bias can take them",)),
    "PRelu": Case(prelu, 1, ("border",)),
    "Max of numbers per channel": Case(floor, 2),
    "x * (x > 0)": Case(masked, 2),
    "x * sigmoid(x)": Case(silu, 2),
    "Dropout with a mask": Case(dropout, 2),
    "Reshape (2, 240), allowzero": Case(lambda g: reshaped(g, 2, 240, allowzero=1), 2, static_only=True),
    "dead inputs alone": Case(two_layers, 3),
    "read by zeros alone": Case(unread, 3),
    "shared weight": Case(shared, 2),
    "all but one": Case(
        lambda g: conv(g, g.node("Relu", dead_conv(g, "x", (4, 8), range(8)))), 7, ("has to stay", "gives it back")
    ),
    "opset 9": Case(lambda g: conv(g, dead_relu(g)), 2, opset=9, at={"ir_version": 3}),
    "opset 22": Case(lambda g: conv(g, dead_relu(g)), 2, opset=22, at={"ir_version": 10}),
    "double": Case(gemm_without_bias, 2, static_only=True, at={"dtype": "double"}),
}


def check(case: Case, dims: Sequence[int | str]) -> tuple[onnx.ModelProto, Result]:
    g = Builder(np.random.default_rng(3), opset=case.opset, **case.at)
    before = g.model({"x": dims}, [case.make(g)])
    found = cut(before)
    after = found.model()
    assert sum(one.channels for one in found.plan.cuts) == case.channels
    assert len(found.plan.refusals) == len(case.reasons)
    for reason, refusal in zip(case.reasons, found.plan.refusals, strict=True):
        assert reason in refusal.refusal.reason
    assert operators(after) == operators(before)
    assert_same(after, before, feeds_for(before, np.random.default_rng(4), SIZES), 1e-5)
    return after, found


@pytest.mark.parametrize("name", CUT)
def test_cut(name: str) -> None:
    case = CUT[name]
    after, found = check(case, STATIC)
    if not case.static_only:
        check(case, DYNAMIC)
    assert all(one.evidence == Proved(one.evidence.how) for one in found.plan.cuts)
    weights = {node.input[1] for node in after.graph.node if node.op_type == "Conv"}
    sizes = {t.name: t.dims for t in after.graph.initializer}
    assert not {name for name in weights if name in sizes and 0 in sizes[name]}


def test_layers_lose_their_channels() -> None:
    after, found = check(CUT["depthwise"], STATIC)
    sizes = {t.name: list(t.dims) for t in after.graph.initializer}
    convs = [node for node in after.graph.node if node.op_type == "Conv"]
    assert [sizes[node.input[1]] for node in convs] == [[6, 4, 3, 3], [6, 1, 3, 3], [3, 6, 3, 3]]
    assert [a.i for node in convs for a in node.attribute if a.name == "group"] == [6]
    (one,) = found.plan.cuts
    assert one.label == convs[0].name
    assert one.changed == tuple(node.name for node in convs)
    assert len(one.rectifiers) == 2


def softmaxed(g: Builder) -> str:
    return conv(g, g.node("Softmax", dead_relu(g), axis=1))


def grouped(g: Builder) -> str:
    return g.conv(dead_relu(g), (8, 4), (3, 3), group=2, pads=1)


def scaled_by(g: Builder) -> str:
    """The other operand has channels of its own that no layer makes."""
    return conv(g, g.node("Add", g.node("Concat", "x", "x", axis=1), dead_relu(g)))


def masked_dropout(g: Builder) -> str:
    value, mask = g.node_n("Dropout", dead_relu(g), outs=("dropped", "mask"))
    return g.node("Add", conv(g, value), g.node("ReduceMax", g.node("Cast", mask, to=1), keepdims=0))


def axis_mixed(g: Builder) -> str:
    return conv(g, g.node("Reshape", dead_relu(g), g.constant(np.array([0, 4, -1, 5]))), 4)


def infinite(g: Builder) -> str:
    """What is never seen, times infinity, is no number."""
    weight = g.random(3, 8, 3, 3)
    weight[0, GONE[0], 0, 0] = np.inf
    return g.node("Conv", dead_relu(g), g.constant(weight))


REFUSED: dict[str, Case] = {
    "infinite weights": Case(infinite, 0, ("its weights are not finite",)),
    "residual": Case(lambda g: residual(g, ()), 0, ("combines it with values that vary",)),
    "depthwise behind a padded constant": Case(lambda g: mobile(g, 2.0), 0, ("reads it where it varies",)),
    "Softmax": Case(softmaxed, 0, ("Softmax_8: it mixes or counts channels",)),
    "groups": Case(grouped, 0, ("a grouped convolution",)),
    "sum with channels no layer makes": Case(scaled_by, 0, ("it meets a value whose channels have to stay",)),
    "a mask that is used": Case(masked_dropout, 0, ("it has a second result",)),
    "torn apart": Case(axis_mixed, 0, ("it does not keep channels in one piece",)),
    "output of the model": Case(dead_relu, 0, ("the model gives it back",)),
    "AveragePool, padding counted": Case(
        lambda g: pooled(g, 1.5, pads=[1, 1, 1, 1], count_include_pad=1), 0, ("reads it where it varies",)
    ),
    "one constant, padding": Case(
        lambda g: conv(g, g.node("Relu", dead_conv(g, "x", (4, 8), (2,), 1.5))), 0, ("border",)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    check(REFUSED[name], STATIC)


def test_weights_that_sum_to_zero_are_not_zero() -> None:
    g = Builder(np.random.default_rng(3))
    weight = g.random(8, 4, 3, 3)
    weight[2] -= weight[2].mean()
    weight[5] = 0
    weight[5, 0, 0, 0], weight[5, 1, 2, 2] = 1, -1
    y = g.node("Relu", g.node("Conv", "x", g.constant(weight), pads=[1, 1, 1, 1]))
    assert cut(g.model({"x": STATIC}, [conv(g, y)])).plan.cuts == ()


def test_a_filter_dead_on_the_data_is_observed() -> None:
    g = Builder(np.random.default_rng(3))
    shift = np.full(8, 0.5, np.float32)
    shift[[2, 6]] = -100
    y = g.node("Relu", g.node("Conv", "x", g.constant(g.random(8, 4, 3, 3)), g.constant(shift), pads=[1, 1, 1, 1]))
    before = g.model({"x": STATIC}, [conv(g, y)])
    feeds = feeds_for(before, np.random.default_rng(4), SIZES)
    assert cut(before).plan.cuts == ()
    found = cut(before, [reference_values(before, feeds)])
    (one,) = found.plan.cuts
    assert one.channels == 2
    assert one.evidence == Observed(2 * 6 * 5)
    assert_same(found.model(), before, feeds, 1e-5)


def test_data_and_weights_together_are_observed() -> None:
    g = Builder(np.random.default_rng(3))
    weight, shift = g.random(8, 4, 3, 3), g.random(8)
    weight[1], shift[1], shift[6] = 0, -1, -100
    y = g.node("Relu", g.node("Conv", "x", g.constant(weight), g.constant(shift), pads=[1, 1, 1, 1]))
    before = g.model({"x": STATIC}, [conv(g, y)])
    (one,) = cut(before, [reference_values(before, feeds_for(before, np.random.default_rng(4), SIZES))]).plan.cuts
    assert (one.channels, one.evidence) == (2, Observed(60))


def test_weights_that_callers_may_feed_are_not_known() -> None:
    g = Builder(np.random.default_rng(3))
    weight = g.random(8, 4, 3, 3)
    weight[1] = 0
    z = g.node("Conv", "x", g.constant(weight, home="input"), pads=[1, 1, 1, 1])
    assert cut(g.model({"x": STATIC}, [conv(g, g.node("Relu", z))])).plan.cuts == ()


def test_a_constant_rectifier_that_no_layer_feeds_is_told_of() -> None:
    g = Builder(np.random.default_rng(3))
    shift = np.zeros((4, 1, 1), np.float32)
    shift[2] = -100
    before = g.model({"x": STATIC}, [conv(g, g.node("Relu", g.node("Add", "x", g.constant(shift))), 4)])
    values = reference_values(before, feeds_for(before, np.random.default_rng(4), SIZES))
    (refusal,) = cut(before, [values]).plan.refusals
    assert (refusal.channels, refusal.refusal.reason) == (1, "its channels do not come from one layer that stays")


def test_a_rectifier_behind_groups_is_told_of() -> None:
    g = Builder(np.random.default_rng(3))
    shift = g.random(8)
    shift[2] = -100
    z = g.node("Conv", "x", g.constant(g.random(8, 2, 3, 3)), g.constant(shift), pads=[1, 1, 1, 1], group=2)
    before = g.model({"x": STATIC}, [conv(g, g.node("Relu", z))])
    values = reference_values(before, feeds_for(before, np.random.default_rng(4), SIZES))
    (refusal,) = cut(before, [values]).plan.refusals
    assert "a grouped convolution" in refusal.refusal.reason


def test_values_of_subgraphs_stay() -> None:
    g = Builder(np.random.default_rng(3))
    y = dead_relu(g)
    out = conv(g, y)
    bodies = []
    for name in ("then", "else"):
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        bodies.append(helper.make_graph([helper.make_node("ReduceMax", [y], [name], keepdims=0)], name, [], [made]))
    flag = g.constant(np.array(True))
    g.nodes.append(helper.make_node("If", [flag], ["peak"], then_branch=bodies[0], else_branch=bodies[1]))
    before = g.model({"x": STATIC}, [g.node("Add", out, "peak")])
    found = cut(before)
    assert found.plan.cuts == ()
    assert [r.refusal.reason for r in found.plan.refusals] == ["a subgraph uses it"]


def test_stated_shapes_follow() -> None:
    g = Builder(np.random.default_rng(3))
    before = onnx.shape_inference.infer_shapes(g.model({"x": STATIC}, [conv(g, dead_relu(g))]))
    assert before.graph.value_info
    after = cut(before).model()
    onnx.shape_inference.infer_shapes(after, check_type=True, strict_mode=True, data_prop=True)
    assert_same(after, before, feeds_for(before, np.random.default_rng(4), SIZES), 1e-5)


def test_any_subset_of_cuts_is_right() -> None:
    g = Builder(np.random.default_rng(3))
    y = g.node("Relu", dead_conv(g, "x", (4, 8), bias=1.5))
    y = g.node("Relu", dead_conv(g, y, (8, 9), (0, 2, 3), 0.5))
    before = g.model({"x": STATIC}, [conv(g, g.node("Concat", y, g.node("Relu", dead_conv(g, y, (9, 5))), axis=1), 14)])
    found = cut(before)
    assert len(found.plan.cuts) == 3
    feeds = feeds_for(before, np.random.default_rng(4), SIZES)
    for mask in range(8):
        chosen = [one for at, one in enumerate(found.plan.cuts) if mask >> at & 1]
        assert_same(found.model(chosen), before, feeds, 1e-5)


@pytest.mark.parametrize("bias", [-1.0, 1.5])
def test_half_precision(bias: float) -> None:
    g = Builder(np.random.default_rng(3))
    y = g.node("Cast", "x", to=TensorProto.FLOAT16)
    weights = [g.random(8, 4, 3, 3), g.random(8), g.random(3, 8, 3, 3)]
    weights[0][list(GONE)], weights[1][list(GONE)] = 0, bias
    names = [g.constant(weight.astype(np.float16)) for weight in weights]
    y = g.node("Relu", g.node("Conv", y, *names[:2], pads=[1, 1, 1, 1]))
    y = g.node("Cast", g.node("Conv", y, names[2], pads=[1, 1, 1, 1]), to=TensorProto.FLOAT)
    before = g.model({"x": STATIC}, [y])
    after = cut(before).model()
    assert {t.data_type for t in after.graph.initializer} == {TensorProto.FLOAT16}
    assert after.graph.initializer[0].dims != before.graph.initializer[0].dims
    assert_same(after, before, feeds_for(before, np.random.default_rng(4), SIZES), 2e-2)
