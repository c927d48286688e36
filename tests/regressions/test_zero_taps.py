"""A kernel whose outer taps are zero is a smaller kernel with less padding; what its padding does not cover stays."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnx_nepenthe import ways
from onnx_nepenthe.affine.convs import trimmed
from onnx_nepenthe.affine.maps import Conv, evaluate
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from tests.helpers.build import Array, Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import collapse_exact, stages

ROUNDING = {"float": 1e-5, "float16": 2e-2}


def builder(dtype: str = "float") -> Builder:
    return Builder(np.random.default_rng(0), dtype=dtype)


def kernel(g: Builder, shape: tuple[int, ...], window: tuple[slice, ...]) -> str:
    """Zero but for a window of its taps."""
    weight = np.zeros_like(g.random(*shape))
    weight[(..., *window)] = g.random(*shape)[(..., *window)]
    return g.constant(weight)


def centre(g: Builder, channels: int, out: int | None = None, size: int = 3, rank: int = 2) -> str:
    return kernel(g, (out or channels, channels, *[size] * rank), (slice(size // 2, size // 2 + 1),) * rank)


def geometry(model: onnx.ModelProto) -> list[tuple[tuple[int, ...], list[int]]]:
    """Kernel and pads of every convolution."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    pads = [next(list(a.ints) for a in node.attribute if a.name == "pads") for node in convs]
    return [(weights[node.input[1]].shape[2:], pad) for node, pad in zip(convs, pads, strict=True)]


def collapsed(g: Builder, dims: list[int | str], y: str, sizes: tuple[dict[str, int], ...] = ({},)) -> onnx.ModelProto:
    model = g.model({"x": dims}, [y])
    new = collapse_exact(model)
    for size in sizes:
        assert_same(new, model, feeds_for(model, np.random.default_rng(1), size), ROUNDING[g.dtype])
    return new


def drawn(source: random.Random) -> tuple[Builder, dict[str, Any], tuple[int, ...]]:
    """A convolution of one to three spatial axes that is zero but for a window of its taps."""
    g = builder(source.choice(["float", "float", "float16"]))
    rank, groups = source.randint(1, 3), source.choice([1, 1, 2, 4])
    size = [source.randint(1, 5 if rank < 3 else 3) for _ in range(rank)]
    begins = [source.randint(0, n - 1) for n in size]
    window = tuple(slice(b, source.randint(b + 1, n)) for b, n in zip(begins, size, strict=True))
    at: dict[str, Any] = {"group": groups, "strides": [source.randint(1, 2) for _ in range(rank)]}
    at["dilations"] = [source.randint(1, 2) for _ in range(rank)]
    reach = [(n - 1) * d + 1 for n, d in zip(size, at["dilations"], strict=True)]
    at["pads"] = [source.randint(0, n) for n in reach * 2]
    if source.random() < 0.2:
        del at["pads"], at["dilations"]
        at["auto_pad"] = source.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
    out = source.choice([4, 8])
    weight = kernel(g, (out, 4 // groups, *size), window)
    biases = [g.constant(g.random(out))] if source.random() < 0.5 else []
    g.node("Conv", "x", weight, *biases, out="y", **at)
    return g, at, tuple(size)


@pytest.mark.parametrize("seed", range(60))
def test_any_geometry(seed: int) -> None:
    source = random.Random(seed)
    g, at, size = drawn(source)
    is_open = source.random() < 0.5 and "auto_pad" not in at
    dims: list[int | str] = ["N", 4, *(f"S{axis}" if is_open else 10 for axis in range(len(size)))]
    spatial = [{f"S{axis}": source.randint(10, 13) for axis in range(len(size))} for _ in range(2)]
    collapsed(g, dims, "y", tuple({"N": 1, **each} for each in spatial))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_only_the_centre_is_left(rank: int, dilation: int, stride: int) -> None:
    g = builder()
    at = {"strides": [stride] * rank, "dilations": [dilation] * rank, "pads": [dilation] * rank * 2}
    y = g.node("Conv", "x", centre(g, 4, rank=rank), g.constant(g.random(4)), **at)
    assert geometry(collapsed(g, [2, 4, *[9] * rank], y)) == [((1,) * rank, [0] * 2 * rank)]


@pytest.mark.parametrize(
    ("pads", "left"),
    [
        ([2, 2, 2, 2], ((1, 1), [0, 0, 0, 0])),
        ([2, 1, 2, 2], ((1, 2), [0, 0, 0, 0])),
        ([0, 2, 2, 0], ((3, 3), [0, 0, 0, 0])),
        ([3, 4, 2, 5], ((1, 1), [1, 2, 0, 3])),
    ],
)
def test_padding_pays_for_every_row(pads: list[int], left: tuple[tuple[int, ...], list[int]]) -> None:
    g = builder()
    y = g.node("Conv", "x", centre(g, 4, size=5), pads=pads)
    assert geometry(collapsed(g, [2, 4, 8, 8], y)) == [left]


@pytest.mark.parametrize(("pads", "size"), [([0, 0], 3), ([1, 1], 3), ([2, 1], 2), ([1, 3], 2), ([2, 2], 1)])
def test_padding_that_is_narrower_than_the_dilation_covers_nothing(pads: list[int], size: int) -> None:
    g = builder()
    y = g.node("Conv", "x", kernel(g, (4, 4, 3), (slice(1, 2),)), pads=pads, dilations=[2])
    assert geometry(collapsed(g, [1, 4, 9], y))[0][0] == (size,)


def test_a_kernel_without_any_weight_keeps_a_tap() -> None:
    nothing = Conv(np.zeros((2, 1, 3, 4)), np.ones(2), (1, 2), (2, 1), (2, 0), (4, 2))
    small = trimmed(nothing)
    assert (small.kernel, small.pads_begin, small.pads_end) == ((1, 2), (0, 0), (2, 0))
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 6))
    np.testing.assert_array_equal(evaluate(small, x), evaluate(nothing, x))


def test_a_tap_that_a_single_channel_uses_stays() -> None:
    g = builder()
    weight = np.zeros((4, 4, 3, 3), np.float32)
    weight[:, :, 1, 1], weight[3, 2, 0, 1] = 1.0, 0.5
    y = g.node("Conv", "x", g.constant(weight), pads=[1] * 4)
    assert geometry(collapsed(g, [1, 4, 6, 6], y)) == [((2, 1), [1, 0, 0, 0])]


@pytest.mark.parametrize("dims", [["N", 4, 8, 8], ["N", 4, "H", "W"]], ids=["known", "open"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_block_is_one_convolution(dims: list[int | str], skip: bool) -> None:
    g = builder()
    y = g.node("Conv", g.conv("x", (4, 4), (3, 3), pads=1), centre(g, 4), g.constant(g.random(4)), pads=[1] * 4)
    y = g.node("Add", y, "x") if skip else y
    sizes = ({"N": 1, "H": 7, "W": 5}, {"N": 2, "H": 4, "W": 9})
    new = collapsed(g, dims, y, sizes)
    assert operators(new) == {"Conv": 1}
    assert geometry(new) == [((3, 3), [1, 1, 1, 1])]


@pytest.mark.parametrize("dims", [["N", 4, 8, 8], ["N", 4, "H", "W"]], ids=["known", "open"])
def test_with_an_exact_border(dims: list[int | str]) -> None:
    """A bias before the padding depends on the position, and on as many taps as there are."""
    g = builder()
    y = g.conv("x", (4, 4), (1, 1))
    window = (slice(2, 5), slice(1, 4))
    y = g.node("Conv", y, kernel(g, (4, 4, 5, 5), window), g.constant(g.random(4)), pads=[2] * 4)
    new = collapsed(g, dims, y, ({"N": 1, "H": 7, "W": 5}, {"N": 2, "H": 6, "W": 9}))
    assert geometry(new)[0] == ((3, 3), [0, 1, 2, 1])


@pytest.mark.parametrize("seed", range(20))
def test_looking_at_outlines_changes_no_plan(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outline is that of the smaller kernel."""
    source, g, y = random.Random(seed), builder(), "x"
    for _ in range(source.randint(2, 5)):
        size = source.choice([1, 3, 3, 5])
        weight = centre(g, 4, size=size) if source.random() < 0.5 else g.constant(g.random(4, 4, size, size))
        pads = [size // 2] * 4 if source.random() < 0.7 else [0] * 4
        y = g.node("Conv", y, weight, g.constant(g.random(4)), pads=pads)
        y = g.node("Add", y, g.constant(g.random(4, 1, 1))) if source.random() < 0.3 else y
    model = g.model({"x": [1, 4, 24, 24]}, [y])
    found = []
    for effort in (ways.LAZY_EFFORT, -1):
        monkeypatch.setattr(ways, "LAZY_EFFORT", effort)
        regions = stages(model).regions
        found.append([(c.value, c.source, region.gain) for region in regions for c in region.choices])
    assert found[0] == found[1]


def test_of_a_depthwise_convolution_a_line_is_left() -> None:
    g = builder()
    y = g.node("Conv", "x", centre(g, 1, 4), g.constant(g.random(4)), pads=[1] * 4, group=4)
    assert operators(collapsed(g, [1, 4, 6, 6], g.node("Sigmoid", y))) == {"BatchNormalization": 1, "Sigmoid": 1}


def test_of_a_transposed_convolution() -> None:
    g = builder()
    y = g.node("ConvTranspose", "x", centre(g, 4), g.constant(g.random(4)), pads=[1] * 4)
    assert geometry(collapsed(g, [1, 4, 6, 6], y)) == [((1, 1), [0, 0, 0, 0])]


BRANCHES = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,6,5] x, bool flag) => (float[N,3,6,5] y) {
  y = If (flag) <
    then_branch = t () => (float[N,3,6,5] a) { a = Conv<pads: ints = [1, 1, 1, 1]>(x, w) },
    else_branch = e () => (float[N,3,6,5] b) { b = Tanh(x) }
  >
}
"""


def test_inside_a_branch() -> None:
    model = onnx.parser.parse_model(BRANCHES)
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[:, :, 1, 1] = np.random.default_rng(0).standard_normal((3, 3))
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    outcome = collapse(ir.from_proto(model), "branches", Options(latency="off"))
    assert outcome.model is not None
    after = ir.to_proto(outcome.model)
    branch = next(a.g for a in after.graph.node[0].attribute if a.name == "then_branch")
    assert [list(a.ints) for a in branch.node[0].attribute if a.name == "kernel_shape"] == [[1, 1]]
    for flag in (True, False):
        feeds = {"x": np.random.default_rng(1).standard_normal((2, 3, 6, 5)).astype(np.float32), "flag": np.array(flag)}
        assert_same(after, model, feeds, ROUNDING["float"])


def test_weights_are_looked_at_in_place() -> None:
    weight: Array = np.zeros((2, 2, 3, 3))
    weight[:, :, 1, 1:] = 1.0
    small = trimmed(Conv(weight, np.zeros(2), (1, 1), (1, 1), (1, 1), (1, 1)))
    assert small.kernel == (1, 2)
    assert np.shares_memory(small.weight, weight)
