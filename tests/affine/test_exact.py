"""What composes and what does not (ALGORITHMS.md §9), the oracle itself, and the cost of composing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.affine import combine, convs, grids
from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.maps import (
    AffineMap,
    Conv,
    Dense,
    PerChannel,
    SpatialMean,
    conv_from,
    evaluate,
    identity,
    per_channel,
    pointwise_from,
    uniform,
)
from onnx_nepenthe.errors import Refused

Array = npt.NDArray[np.float64]
RNG = np.random.default_rng(7)


def conv(out: int, channels: int, k: int, pad: int = 0, stride: int = 1, groups: int = 1, bias: bool = True) -> Conv:
    weight = RNG.standard_normal((out, channels // groups, k, k))
    offset = RNG.standard_normal(out) if bias else np.zeros(out)
    return Conv(weight, offset, (stride,) * 2, (1, 1), (pad,) * 2, (pad,) * 2, groups)


def norm(channels: int) -> PerChannel:
    return per_channel(1, RNG.standard_normal(channels), RNG.standard_normal(channels))


def assert_equal(m: AffineMap | Refused, x: Array, wanted: Array) -> None:
    assert not isinstance(m, Refused), m
    got = evaluate(m, x)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


C = 4
EXACT: dict[str, tuple[AffineMap, AffineMap]] = {
    "3x3p1 → 1x1": (conv(5, C, 1), conv(C, C, 3, pad=1)),
    "strided 5x5p2 → 1x1": (conv(5, C, 1), conv(C, C, 5, pad=2, stride=2)),
    "3x3p1 → strided 1x1": (conv(5, C, 1, stride=2), conv(C, C, 3, pad=1)),
    "1x1 without bias → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 1, bias=False)),
    "1x1 with bias → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 1)),
    "1x1 with bias → strided 3x3p1": (conv(5, C, 3, pad=1, stride=2), conv(C, C, 1)),
    "strided 1x1 with bias → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 1, stride=2)),
    "3x3 → 3x3, no padding": (conv(5, C, 3), conv(C, C, 3)),
    "3x3p2 → 3x3, all padding on the first": (conv(5, C, 3), conv(C, C, 3, pad=2)),
    "strides 2, 1": (conv(5, C, 3), conv(C, C, 3, pad=1, stride=2)),
    "strides 1, 2": (conv(5, C, 3, stride=2), conv(C, C, 3, pad=1)),
    "strides 2, 2": (conv(5, C, 3, stride=2), conv(C, C, 3, pad=1, stride=2)),
    "depthwise → depthwise": (conv(C, C, 3, groups=C), conv(C, C, 3, pad=1, groups=C)),
    "depthwise → pointwise": (conv(5, C, 1), conv(C, C, 3, pad=1, groups=C)),
    "pointwise → depthwise": (conv(C, C, 3, pad=1, groups=C), conv(C, C, 1)),
    "normalisation → 3x3p1": (conv(5, C, 3, pad=1), norm(C)),
    "3x3p1 → normalisation": (norm(C), conv(C, C, 3, pad=1)),
    "normalisation → dense": (Dense(1, RNG.standard_normal((5, C)), RNG.standard_normal(5)), norm(C)),
    "1x1 → mean": (SpatialMean(identity()), conv(C, C, 1)),
    "normalisation → mean": (SpatialMean(identity()), norm(C)),
    "mean → 1x1": (conv(5, C, 1), SpatialMean(identity())),
    "mean → 3x3p1": (conv(5, C, 3, pad=1), SpatialMean(identity())),
    "mean → dense": (Dense(1, RNG.standard_normal((5, C)), RNG.standard_normal(5)), SpatialMean(norm(C))),
}


@pytest.mark.parametrize("size", [(7, 6), (8, 9), (5, 5)])
@pytest.mark.parametrize("name", EXACT)
def test_exact_compositions_are_not_refused(name: str, size: tuple[int, int]) -> None:
    second, first = EXACT[name]
    x = RNG.standard_normal((2, C, *size))
    assert_equal(compose(second, first), x, evaluate(second, evaluate(first, x)))


def test_kernels_strides_and_pads_follow_the_table() -> None:
    merged = compose(conv(5, C, 3, stride=2), conv(C, C, 3, pad=1, stride=2))
    assert isinstance(merged, Conv)
    assert (merged.kernel, merged.strides, merged.pads_begin) == ((7, 7), (4, 4), (1, 1))
    depthwise = compose(*EXACT["depthwise → depthwise"])
    assert isinstance(depthwise, Conv)
    assert (depthwise.groups, depthwise.kernel) == (C, (5, 5))
    plain = compose(*EXACT["1x1 without bias → 3x3p1"])
    assert isinstance(plain, Conv)
    assert plain.border is None
    biased = compose(*EXACT["1x1 with bias → 3x3p1"])
    assert isinstance(biased, Conv)
    assert biased.border is not None
    wide = Conv(RNG.standard_normal((5, C, 3, 3)), np.zeros(5), (1, 1), (2, 2), (2, 2), (2, 2))
    for second, first in ((wide, conv(C, C, 1)), (conv(3, 5, 1), wide), (norm(5), wide)):
        dilated = compose(second, first)
        assert isinstance(dilated, Conv)
        assert (dilated.kernel, dilated.dilations) == ((3, 3), (2, 2))
    means = compose(*EXACT["1x1 → mean"])
    assert isinstance(means, SpatialMean)


INEXACT: dict[str, tuple[AffineMap, AffineMap]] = {
    "3x3p1 → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 3, pad=1)),
    "3x3p1 without bias → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 3, pad=1, bias=False)),
    "strided 3x3p1 → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 3, pad=1, stride=2)),
    "3x3p1 → strided 3x3p1": (conv(5, C, 3, pad=1, stride=2), conv(C, C, 3, pad=1)),
    "3x3 → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 3)),
    "padded 1x1 with bias → 3x3p1": (conv(5, C, 3, pad=1), conv(C, C, 1, pad=1)),
}


@pytest.mark.parametrize("name", INEXACT)
def test_what_would_be_wrong_at_the_edge_is_refused(name: str) -> None:
    refused = compose(*INEXACT[name])
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("border")
    assert "padding" in refused.lift


def test_moving_the_padding_lifts_the_refusal() -> None:
    x = RNG.standard_normal((1, C, 8, 8))
    first, second = conv(C, C, 3, pad=2), conv(5, C, 3)
    assert_equal(compose(second, first), x, evaluate(second, evaluate(first, x)))


def test_one_padded_axis_is_enough_for_a_refusal_and_one_tap_is_enough_against_it() -> None:
    wide = Conv(RNG.standard_normal((C, C, 1, 3)), RNG.standard_normal(C), (1, 1), (1, 1), (0, 1), (0, 1))
    tall = Conv(RNG.standard_normal((C, C, 3, 1)), np.zeros(C), (1, 1), (1, 1), (1, 0), (1, 0))
    x = RNG.standard_normal((1, C, 5, 6))
    assert_equal(compose(tall, wide), x, evaluate(tall, evaluate(wide, x)))
    assert isinstance(compose(conv(5, C, 3, pad=1), wide), Refused)


REASONS: dict[str, tuple[str, AffineMap, AffineMap]] = {
    "axes": ("different axes", per_channel(2, [1.0, 2.0], 0.0), per_channel(1, [1.0, 2.0], 0.0)),
    "dense axes": ("different axes", Dense(2, np.ones((2, 2)), np.ones(2)), Dense(1, np.ones((2, 2)), np.ones(2))),
    "dense after width": ("different axes", Dense(1, np.ones((2, 2)), np.ones(2)), per_channel(2, [1.0, 2.0], 0.0)),
    "width after dense": ("different axes", per_channel(2, [1.0, 2.0], 0.0), Dense(1, np.ones((2, 2)), np.ones(2))),
    "conv after width": ("different axes", conv(3, C, 1), per_channel(3, [1.0, 2.0], 0.0)),
    "mean after width": ("different axes", SpatialMean(identity()), per_channel(3, [1.0, 2.0], 0.0)),
    "width after mean": ("different axes", Dense(3, np.ones((2, 1)), np.ones(2)), SpatialMean(identity())),
    "mean after conv": ("mean over space after", SpatialMean(identity()), conv(3, C, 3)),
    "mean after stride": ("mean over space after", SpatialMean(identity()), conv(3, C, 1, stride=2)),
    "mean after mean": ("mean over space after", SpatialMean(identity()), SpatialMean(identity())),
    "position behind the edge": ("several positions", conv(3, C, 1, pad=1), SpatialMean(identity())),
    "ranks": ("numbers of spatial axes", conv(3, C, 3), Conv(np.ones((C, C, 2)), np.ones(C), (1,), (1,), (0,), (0,))),
}


@pytest.mark.parametrize("name", REASONS)
def test_other_refusals_say_why(name: str) -> None:
    reason, second, first = REASONS[name]
    refused = compose(second, first)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_a_dilated_padded_convolution_of_one_position_is_refused_between_its_taps() -> None:
    second = Conv(np.ones((1, C, 2)), np.ones(1), (1,), (2,), (1,), (1,))
    refused = compose(second, SpatialMean(identity()))
    assert isinstance(refused, Refused)
    assert "single position" in refused.reason


@pytest.mark.parametrize(
    ("maps", "channels", "sizes", "reason"),
    [
        ([conv(C, C, 3, pad=1), conv(C, C, 1, stride=2)], C, (8, 8), "different strides"),
        ([conv(C, C, 3), conv(C, C, 1)], C, (8, 8), "different spatial sizes"),
        ([conv(C, C, 2, stride=2), conv(C, C, 1, stride=2)], C, (None, None), "different spatial sizes"),
        ([conv(1, C, 1), conv(C, C, 1)], C, (8, 8), "one is broadcast"),
        ([conv(C, C, 1), identity()], None, (8, 8), "channels is not known"),
        ([Dense(1, np.ones((2, 2)), np.ones(2)), identity()], None, (), "channels is not known"),
        ([per_channel(1, [1.0, 2.0], 0.0), per_channel(2, [1.0, 2.0], 0.0)], 2, (), "different axes"),
        ([conv(C, C, 1), per_channel(2, [1.0, 2.0], 0.0)], C, (2, 2), "different axes"),
        ([SpatialMean(identity()), identity()], C, (8, 8), "keeps space"),
    ],
)
def test_sums_that_are_refused(maps: list[AffineMap], channels: int | None, sizes: tuple, reason: str) -> None:
    refused = combine.add(maps, channels, sizes)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_a_residual_adds_one_at_the_centre_tap() -> None:
    body = conv(C, C, 3, pad=1)
    merged = combine.add([body, identity()], C, (None, None))
    assert isinstance(merged, Conv)
    centre = np.zeros_like(body.weight)
    centre[range(C), range(C), 1, 1] = 1
    assert np.array_equal(merged.weight, body.weight + centre)


def test_sums_of_unknown_sizes_where_only_known_sizes_would_agree() -> None:
    even = [conv(C, C, 2, stride=2), conv(C, C, 1, stride=2)]
    x = RNG.standard_normal((1, C, 8, 6))
    assert_equal(combine.add(even, C, (8, 6)), x, evaluate(even[0], x) + evaluate(even[1], x))
    assert isinstance(combine.add(even, C, (7, 6)), Refused)


def test_a_depthwise_sum_stays_depthwise() -> None:
    merged = combine.add([conv(C, C, 3, pad=1, groups=C), norm(C), conv(C, C, 1, groups=C)], C, (None, None))
    assert isinstance(merged, Conv)
    assert merged.groups == C


LONG = 1 << 14
FEW = [uniform(2.0, 0.0)] * 2


def test_a_long_axis_is_never_made_a_square_matrix() -> None:
    depthwise = Conv(np.ones((LONG, 1, 1)), np.ones(LONG), (1,), (1,), (0,), (0,), LONG)
    for refused in (
        combine.stack(FEW, 1, LONG, ()),
        combine.stack([depthwise, identity()], 1, LONG, (8,)),
        combine.select(uniform(2.0, 0.0), 1, 0, LONG - 1, LONG),
        combine.select(depthwise, 1, 0, 2, LONG),
    ):
        assert isinstance(refused, Refused)
        assert "too large" in refused.reason
    part = combine.select(uniform(2.0, 1.0), 1, 3, 5, LONG)
    assert isinstance(part, Dense)
    assert part.weight.shape == (2, LONG)


def test_a_merged_weight_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "LARGEST_WEIGHT", 5 * C * 9 - 1)
    refused = compose(conv(5, C, 3, pad=1), conv(C, C, 1))
    assert isinstance(refused, Refused)
    assert "too large" in refused.reason


@pytest.mark.parametrize("order", ["before", "after", "padded after border"])
def test_thousands_of_depthwise_channels_stay_depthwise(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made dense, they would be 4096² entries a tap; no step may even try."""
    many = 4096
    wide = conv(many, many, 3, pad=0, groups=many)
    line = norm(many)
    monkeypatch.setattr(convs, "regroup", lambda m, groups: m.weight if groups == m.groups else pytest.fail("dense"))
    merged = compose(wide, line) if order == "before" else compose(line, wide)
    if order == "padded after border":
        bordered = compose(conv(many, many, 3, pad=1, groups=many), line)
        assert isinstance(bordered, Conv)
        assert bordered.border is not None
        merged = compose(wide, bordered)
    assert isinstance(merged, Conv)
    assert merged.groups == many


@pytest.mark.parametrize("groups", [(1, 4), (4, 1), (2, 4), (4, 2), (4, 6), (6, 4)])
def test_only_the_coarser_of_two_groupings_is_spread(groups: tuple[int, int]) -> None:
    second, first = conv(12, 12, 3, groups=groups[0]), conv(12, 12, 1, groups=groups[1])
    merged = compose(second, first)
    x = RNG.standard_normal((1, 12, 5, 5))
    assert isinstance(merged, Conv)
    assert merged.groups == np.gcd(*groups)
    assert_equal(merged, x, evaluate(second, evaluate(first, x)))


def test_padding_beside_the_kernel_is_kept_when_trimming() -> None:
    crop = Conv(np.zeros((1, 1, 3)), np.ones(1), (1,), (1,), (0,), (0,))
    crop.weight[0, 0, 1] = 1.0
    assert convs.trimmed(crop) is crop
    shifted = Conv(crop.weight, np.ones(1), (1,), (1,), (1,), (1,))
    assert convs.trimmed(shifted).kernel == (1,)
    assert pointwise_from(convs.trimmed(shifted)) is not None


def test_a_row_that_only_the_border_needs_is_not_trimmed() -> None:
    plane = np.zeros((1, 3))
    plane[0, 0] = 1.0
    m = Conv(np.zeros((1, 1, 3)), np.zeros(1), (1,), (1,), (1,), (1,), 1, plane)
    assert convs.trimmed(m).kernel == (2,)


def run_reference(op: str, x: Array, constants: list[Array], attributes: dict[str, object], opset: int = 17) -> Array:
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(op, ["x", *names], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    result: Array = ReferenceEvaluator(model).run(None, {"x": x})[0]
    return result


@settings(max_examples=60)
@given(data=st.data(), spatial=st.sampled_from((1, 2)), groups=st.sampled_from((1, 2, 4)))
def test_evaluate_agrees_with_onnx_on_convolutions(data: st.DataObject, spatial: int, groups: int) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(spatial))
    strides, dilations = (tuple(draw(st.integers(1, 2)) for _ in range(spatial)) for _ in range(2))
    pads = [draw(st.integers(0, 2)) for _ in range(2 * spatial)]
    weight, bias = rng.standard_normal((4, 4 // groups, *kernel)), rng.standard_normal(4)
    x = rng.standard_normal((2, 4, *(draw(st.integers(5, 8)) for _ in range(spatial))))
    m = Conv(weight, bias, strides, dilations, tuple(pads[:spatial]), tuple(pads[spatial:]), groups)
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    assert_equal(m, x, run_reference("Conv", x, [weight, bias], attributes))


def test_evaluate_agrees_with_onnx_on_the_other_maps() -> None:
    x = RNG.standard_normal((2, 3, 4, 5))
    scale, offset, mean = (RNG.standard_normal(3) for _ in range(3))
    variance = RNG.random(3) + 0.5
    normal = per_channel(1, scale / np.sqrt(variance + 1e-5), offset - mean * scale / np.sqrt(variance + 1e-5))
    assert_equal(normal, x, run_reference("BatchNormalization", x, [scale, offset, mean, variance], {}))
    weight, bias = RNG.standard_normal((5, 6)), RNG.standard_normal(6)
    assert_equal(Dense(3, weight.T, np.zeros(6)), x, run_reference("MatMul", x, [weight], {}))
    assert_equal(Dense(1, weight.T, bias), x[0, 0], run_reference("Gemm", x[0, 0], [weight, bias], {}))
    assert_equal(SpatialMean(identity()), x, run_reference("GlobalAveragePool", x, [], {}))


def test_the_border_is_a_convolution_over_ones() -> None:
    m = conv(3, C, 3, pad=1)
    plane = RNG.standard_normal((3, 3, 3))
    x = RNG.standard_normal((1, C, 5, 4))
    bordered = Conv(m.weight, m.bias, m.strides, m.dilations, m.pads_begin, m.pads_end, 1, plane)
    ones = run_reference("Conv", np.ones((1, 1, 5, 4)), [plane[:, None]], {"pads": [1] * 4})
    assert_equal(bordered, x, evaluate(m, x) + ones)


def test_a_pad_is_a_convolution_with_one_tap() -> None:
    x = RNG.standard_normal((1, 2, 4, 4))
    m = Conv(np.ones((2, 1, 1, 1)), np.zeros(2), (1, 1), (1, 1), (1, 0), (2, 3), 2)
    wanted = np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 3)])
    assert_equal(m, x, wanted)
    second = conv(3, 2, 3, pad=0)
    assert_equal(compose(second, m), x, evaluate(second, wanted))
    normalised = compose(m, norm(2))
    assert isinstance(normalised, Conv)
    assert normalised.border is not None


def test_a_uniform_map_takes_the_channels_it_is_given() -> None:
    m = conv_from(uniform(2.0, 1.0), 2, 3)
    assert (m.groups, m.weight.shape, m.bias.tolist()) == (3, (3, 1, 1, 1), [1.0, 1.0, 1.0])
