"""Laws that every pair of maps must obey; `evaluate` is the oracle. A new kind of map enters by adding one maker."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_nepenthe.affine.combine import add, select, stack
from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.convs import align_convs, compose_convs, regroup, trimmed
from onnx_nepenthe.affine.maps import (
    AffineMap,
    Conv,
    Dense,
    PerChannel,
    SpatialMean,
    conv_from,
    dense_from_per_channel,
    evaluate,
    identity,
    is_constant,
    is_identity,
    per_channel,
    pointwise_from,
    uniform,
    with_settled_border,
)
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]
Draw = st.DrawFn
Maker = Callable[[Draw, Shape], AffineMap]


def numbers(draw: Draw, *shape: int) -> Array:
    """Random numbers; sometimes all zero, partly zero, or with zero outer taps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = rng.standard_normal(shape)
    match draw(st.sampled_from(("full", "full", "zero", "holes", "edges"))):
        case "zero":
            return np.zeros(shape)
        case "holes":
            return values * rng.integers(0, 2, shape)
        case "edges" if len(shape) > 2:
            values[..., draw(st.sampled_from((0, -1)))] = 0.0
            values[:, :, draw(st.sampled_from((0, -1)))] = 0.0
    return values


def make_uniform(draw: Draw, shape: Shape) -> AffineMap:
    scale = draw(st.sampled_from((0.0, 1.0, -1.0, 2.5)))
    return uniform(scale, draw(st.sampled_from((0.0, 0.75))))


def make_per_channel(draw: Draw, shape: Shape) -> AffineMap:
    return per_channel(1, numbers(draw, shape[1]), numbers(draw, shape[1]))


def make_per_entry(draw: Draw, shape: Shape) -> AffineMap:
    axis = draw(st.sampled_from([axis for axis in range(len(shape)) if axis != 1]))
    return per_channel(axis, numbers(draw, shape[axis]), numbers(draw, shape[axis]))


def make_dense(draw: Draw, shape: Shape) -> AffineMap:
    out = draw(st.sampled_from((shape[1], 1, 3, 4)))
    return Dense(1, numbers(draw, out, shape[1]), numbers(draw, out))


def make_dense_elsewhere(draw: Draw, shape: Shape) -> AffineMap:
    axis = draw(st.sampled_from([axis for axis in range(len(shape)) if axis != 1]))
    out = draw(st.sampled_from((shape[axis], 1, 2)))
    return Dense(axis, numbers(draw, out, shape[axis]), numbers(draw, out))


def make_mean(draw: Draw, shape: Shape) -> AffineMap:
    inner = draw(st.sampled_from((make_uniform, make_per_channel, make_dense)))(draw, shape)
    assert isinstance(inner, PerChannel | Dense)
    return SpatialMean(inner)


def conv_maker(
    kernel: int = 4, stride: int = 1, dilation: int = 1, pad: int = 0, groups: str = "one", border: bool = False
) -> Maker:
    """A maker of convolutions with parameters up to these."""

    def make(draw: Draw, shape: Shape) -> AffineMap:
        kernels, strides, dilations, begins, ends = [], [], [], [], []
        for size in shape[2:]:
            dilations.append(draw(st.integers(1, dilation)))
            begins.append(draw(st.integers(0, pad)))
            ends.append(draw(st.integers(0, pad)))
            most = (size + begins[-1] + ends[-1] - 1) // dilations[-1] + 1
            kernels.append(draw(st.integers(1, min(kernel, most))))
            strides.append(draw(st.integers(1, stride)))
        channels = shape[1]
        parts = {"one": 1, "depthwise": channels, "some": 2 if channels % 2 == 0 else channels}[groups]
        out = parts * draw(st.integers(1, 2 if parts > 1 else 4))
        weight = numbers(draw, out, channels // parts, *kernels)
        plane = numbers(draw, out, *kernels) if border else None
        bias = numbers(draw, out)
        return Conv(weight, bias, *map(tuple, (strides, dilations, begins, ends)), parts, plane)

    return make


def make_transposed(draw: Draw, shape: Shape) -> AffineMap:
    geometry: list[tuple[int, ...]] = []
    for size in shape[2:]:
        kernel, stride, dilation = (draw(st.integers(1, most)) for most in (3, 3, 2))
        more = draw(st.integers(0, max(stride, dilation) - 1))
        spare = (size - 1) * stride + (kernel - 1) * dilation + more
        begin = draw(st.integers(0, min(2, spare)))
        end = draw(st.integers(0, min(2, spare - begin)))
        geometry.append((kernel, stride, dilation, begin, end, more))
    kernels, *edges = zip(*geometry, strict=True)
    groups = draw(st.sampled_from([n for n in range(1, shape[1] + 1) if shape[1] % n == 0]))
    each = draw(st.integers(1, 3))
    return TransposedConv(numbers(draw, shape[1], each, *kernels), numbers(draw, each * groups), *edges, groups)


MAKERS: dict[str, Maker] = {
    "transposed": make_transposed,
    "uniform": make_uniform,
    "per_channel": make_per_channel,
    "per_entry": make_per_entry,
    "dense": make_dense,
    "dense_elsewhere": make_dense_elsewhere,
    "mean": make_mean,
    "conv1x1": conv_maker(kernel=1),
    "conv1x1_moving": conv_maker(kernel=1, stride=2, dilation=2, pad=1, groups="some"),
    "conv": conv_maker(),
    "conv_padded": conv_maker(pad=2),
    "conv_strided": conv_maker(stride=3, pad=1),
    "conv_dilated": conv_maker(dilation=3, pad=2),
    "conv_grouped": conv_maker(groups="some", stride=2, pad=1),
    "depthwise": conv_maker(groups="depthwise", dilation=2, pad=2),
    "conv_border": conv_maker(pad=2, border=True),
    "grouped_border": conv_maker(kernel=3, stride=2, dilation=2, pad=3, groups="some", border=True),
}
SPATIAL = {name for name in MAKERS if any(word in name for word in ("mean", "conv", "border", "depthwise", "transp"))}


@st.composite
def shapes(draw: Draw, least_rank: int = 2) -> Shape:
    rank = draw(st.sampled_from([rank for rank in (2, 3, 4, 4, 5) if rank >= least_rank]))
    largest = {2: 5, 3: 9, 4: 9, 5: 4}[rank]
    space = [draw(st.integers(1, largest)) for _ in range(rank - 2)]
    return (draw(st.integers(1, 2)), draw(st.integers(1, 5)), *space)


def draw_chain(draw: Draw, names: tuple[str, ...]) -> tuple[list[AffineMap], Array]:
    """Maps for one after the other, and a tensor for the first."""
    shape = draw(shapes(3 if SPATIAL & set(names) else 2))
    x = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape)
    maps: list[AffineMap] = []
    y = x
    for name in names:
        maps.append(MAKERS[name](draw, y.shape))
        y = evaluate(maps[-1], y)
    return maps, x


def assert_same(got: Array, wanted: Array) -> None:
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * (1 + np.abs(wanted).max(initial=0.0)))


def assert_well_formed(m: AffineMap) -> None:
    """Sizes and types as the docstrings of maps.py promise."""
    match m:
        case PerChannel():
            assert m.scale.shape == m.offset.shape
            assert m.scale.shape == (m.channels or 1,)
        case Dense():
            assert m.weight.ndim == 2
            assert m.bias.shape == m.weight.shape[:1]
        case TransposedConv():
            assert m.weight.shape[0] % m.groups == 0
            assert m.bias.shape == (m.weight.shape[1] * m.groups,)
        case SpatialMean():
            assert m.then.axis in (None, 1)
            assert_well_formed(m.then)
        case Conv():
            assert m.bias.shape == m.weight.shape[:1]
            assert m.weight.shape[0] % m.groups == 0
            assert all(len(g) == m.spatial for g in (m.strides, m.dilations, m.pads_begin, m.pads_end))
            assert all(type(n) is int for g in (m.strides, m.dilations, m.pads_begin, m.pads_end) for n in g)
            assert min(m.pads_begin + m.pads_end, default=0) >= 0
            assert m.border is None or m.border.shape == (len(m.bias), *m.kernel)


PAIRS = list(product(MAKERS, MAKERS))


@pytest.mark.parametrize(("second", "first"), PAIRS)
@settings(max_examples=6)
@given(data=st.data())
def test_a_composition_is_one_after_the_other(second: str, first: str, data: st.DataObject) -> None:
    (one, two), x = data.draw(st.composite(draw_chain)((first, second)))
    merged = compose(two, one)
    if not isinstance(merged, Refused):
        assert_well_formed(merged)
        assert_same(evaluate(merged, x), evaluate(two, evaluate(one, x)))


@settings(max_examples=150)
@given(data=st.data(), names=st.lists(st.sampled_from(sorted(MAKERS)), min_size=3, max_size=5))
def test_a_chain_composes_from_either_end(data: st.DataObject, names: list[str]) -> None:
    maps, x = data.draw(st.composite(draw_chain)(tuple(names)))
    wanted = x
    for m in maps:
        wanted = evaluate(m, wanted)
    forward: AffineMap | Refused = maps[0]
    for m in maps[1:]:
        forward = forward if isinstance(forward, Refused) else compose(m, forward)
    backward: AffineMap | Refused = maps[-1]
    for m in maps[-2::-1]:
        backward = backward if isinstance(backward, Refused) else compose(backward, m)
    for merged in (forward, backward):
        if not isinstance(merged, Refused):
            assert_well_formed(merged)
            assert_same(evaluate(merged, x), wanted)


@st.composite
def beside(draw: Draw, names: tuple[str, ...]) -> tuple[list[AffineMap], Array, tuple[int | None, ...]]:
    """Maps of one tensor, and the spatial sizes as far as they are known."""
    shape = draw(shapes(3 if SPATIAL & set(names) else 2))
    x = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape)
    maps = [MAKERS[name](draw, shape) for name in names]
    sizes = tuple(draw(st.sampled_from((size, size, None))) for size in shape[2:])
    return maps, x, sizes


def known_channels(draw: Draw, maps: list[AffineMap], x: Array, axis: int) -> int | None:
    return draw(st.sampled_from((x.shape[axis],) * 4 + (None,)))


def acting_axis(maps: list[AffineMap]) -> int:
    axes = [m.axis for m in maps if isinstance(m, PerChannel | Dense) and m.axis is not None]
    return axes[0] if axes else 1


@pytest.mark.parametrize(("left", "right"), PAIRS)
@settings(max_examples=6)
@given(data=st.data())
def test_a_sum_is_the_sum(left: str, right: str, data: st.DataObject) -> None:
    maps, x, sizes = data.draw(beside((left, right)))
    merged = add(maps, known_channels(data.draw, maps, x, acting_axis(maps)), sizes)
    if isinstance(merged, Refused):
        return
    one, two = (evaluate(m, x) for m in maps)
    assert_well_formed(merged)
    assert one.shape == two.shape, "a broadcast sum was merged"
    assert_same(evaluate(merged, x), one + two)


@pytest.mark.parametrize(("left", "right"), PAIRS)
@settings(max_examples=6)
@given(data=st.data())
def test_a_stack_is_the_concatenation(left: str, right: str, data: st.DataObject) -> None:
    maps, x, sizes = data.draw(beside((left, right)))
    axis = data.draw(st.sampled_from((acting_axis(maps), 1)))
    merged = stack(maps, axis, known_channels(data.draw, maps, x, axis), sizes)
    if isinstance(merged, Refused):
        return
    parts = [evaluate(m, x) for m in maps]
    assert_well_formed(merged)
    assert_same(evaluate(merged, x), np.concatenate(parts, axis))


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_selection_is_a_slice(name: str, data: st.DataObject) -> None:
    (m,), x, _ = data.draw(beside((name,)))
    y = evaluate(m, x)
    axis = data.draw(st.sampled_from((acting_axis([m]), *range(y.ndim))))
    start = data.draw(st.integers(0, y.shape[axis] - 1))
    stop = data.draw(st.integers(start + 1, y.shape[axis]))
    merged = select(m, axis, start, stop, known_channels(data.draw, [m], x, axis))
    if not isinstance(merged, Refused):
        assert_well_formed(merged)
        assert_same(evaluate(merged, x), np.take(y, range(start, stop), axis))


CONVS = sorted(SPATIAL - {"mean", "transposed"})


@pytest.mark.parametrize("name", CONVS)
@settings(max_examples=40)
@given(data=st.data())
def test_other_ways_to_write_a_convolution(name: str, data: st.DataObject) -> None:
    (m,), x, _ = data.draw(beside((name,)))
    assert isinstance(m, Conv)
    wanted = evaluate(m, x)
    for same in (trimmed(m), with_settled_border(m), pointwise_from(m), pointwise_from(trimmed(m))):
        if same is not None:
            assert_same(evaluate(same, x), wanted)
    for groups in (g for g in range(1, m.groups) if m.groups % g == 0):
        dense = Conv(regroup(m, groups), m.bias, m.strides, m.dilations, m.pads_begin, m.pads_end, groups, m.border)
        assert_same(evaluate(dense, x), wanted)
    assert trimmed(trimmed(m)).kernel == trimmed(m).kernel


@pytest.mark.parametrize(("left", "right"), list(product(CONVS, CONVS)))
@settings(max_examples=5)
@given(data=st.data())
def test_aligned_convolutions_share_their_geometry(left: str, right: str, data: st.DataObject) -> None:
    maps, x, sizes = data.draw(beside((left, right)))
    convs = [m for m in maps if isinstance(m, Conv)]
    aligned = align_convs(convs, sizes)
    if isinstance(aligned, Refused):
        return
    assert len({(m.kernel, m.strides, m.dilations, m.pads_begin, m.pads_end) for m in aligned}) == 1
    for before, after in zip(convs, aligned, strict=True):
        assert_well_formed(after)
        assert_same(evaluate(after, x), evaluate(before, x))


@pytest.mark.parametrize("name", ["uniform", "per_channel", "dense", *CONVS])
@settings(max_examples=20)
@given(data=st.data())
def test_any_map_over_channels_is_a_convolution(name: str, data: st.DataObject) -> None:
    shape = data.draw(shapes(3))
    m = MAKERS[name](data.draw, shape)
    assert not isinstance(m, SpatialMean)
    x = np.random.default_rng(0).standard_normal(shape)
    assert_same(evaluate(conv_from(m, len(shape) - 2, shape[1]), x), evaluate(m, x))
    if isinstance(m, PerChannel):
        assert_same(evaluate(dense_from_per_channel(m, 1, shape[1]), x), evaluate(m, x))


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=20)
@given(data=st.data())
def test_identity_is_neutral_and_constants_are_constant(name: str, data: st.DataObject) -> None:
    (m,), x, _ = data.draw(beside((name,)))
    assert compose(m, identity()) is m or is_identity(m)
    assert compose(identity(), m) is m or is_identity(m)
    if is_identity(m):
        assert_same(evaluate(m, x), x)
    if is_constant(m):
        assert_same(evaluate(m, x), evaluate(m, np.ones_like(x)))


@settings(max_examples=60)
@given(data=st.data())
def test_groups_are_kept_where_both_have_them(data: st.DataObject) -> None:
    channels = data.draw(st.sampled_from((4, 6, 12)))
    first_groups = data.draw(st.sampled_from([g for g in (1, 2, 3, 4, 6, 12) if channels % g == 0]))
    second_groups = data.draw(st.sampled_from([g for g in (1, 2, 3, 4, 6, 12) if channels % g == 0]))
    one = Conv(numbers(data.draw, channels, channels // first_groups, 2), numbers(data.draw, channels),
               (1,), (1,), (1,), (0,), first_groups, numbers(data.draw, channels, 2))  # fmt: skip
    two = Conv(numbers(data.draw, channels, channels // second_groups, 3), numbers(data.draw, channels),
               (1,), (1,), (0,), (0,), second_groups)  # fmt: skip
    merged = compose_convs(two, one)
    assert isinstance(merged, Conv)
    assert merged.groups == np.gcd(first_groups, second_groups)
    x = np.random.default_rng(1).standard_normal((1, channels, 7))
    assert_same(evaluate(merged, x), evaluate(two, evaluate(one, x)))
