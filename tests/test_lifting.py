"""A line behind a sum moves into what is summed: the numbers stay, and one operator goes; else nothing happens."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnx_nepenthe import lifting
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.charting import chart
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.lifting import lined_sums
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from onnx_nepenthe.plan import plan
from onnx_nepenthe.prices import MultiplyAdds
from onnx_nepenthe.rewrite import journal, rewrite
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.trial import try_regions
from tests.helpers.build import Builder, Dims
from tests.helpers.check_random import RandomPrices
from tests.helpers.compare import assert_same, assert_valid, feeds_for, operators
from tests.helpers.exact import collapse_exact, stages
from tests.helpers.reference import run_reference

ROUNDING = {"float": 2e-5, "double": 1e-12, "float16": 3e-2}
IMAGE: Dims = ["N", 4, 6, 5]
SIZES = {"N": 2, "H": 6, "W": 5, "T": 3}
Make = Callable[[Builder, str], str]


def builder(dtype: str = "float") -> Builder:
    return Builder(np.random.default_rng(0), dtype=dtype)


def shift(g: Builder, x: str, *, along: tuple[int, ...] = (4, 1, 1)) -> str:
    return g.node("Add", x, g.constant(g.random(*along)))


def collapsed(g: Builder, outputs: list[str], dims: Dims = IMAGE) -> dict[str, int]:
    """What is left of the model; its numbers are compared."""
    model = g.model({"x": dims}, outputs)
    new = collapse_exact(model)
    feeds = feeds_for(model, np.random.default_rng(1), SIZES)
    if g.dtype == "double" and any("Conv" in name for name in operators(model)):
        assert_valid(new, model)
        want, got = run_reference(model, feeds), run_reference(new, feeds)
        for one, two in zip(want, got, strict=True):
            np.testing.assert_allclose(two, one, atol=ROUNDING["double"])
    else:
        assert_same(new, model, feeds, ROUNDING[g.dtype])
    return operators(new)


def conv(g: Builder, x: str) -> str:
    return g.conv(x, (4, 4), (3, 3), pads=1)


MAKES: dict[str, Make] = {
    "conv": conv,
    "conv without bias": lambda g, x: g.conv(x, (4, 4), (3, 3), pads=1, bias=False),
    "depthwise": lambda g, x: g.conv(x, (4, 4), (3, 3), pads=1, group=4),
    "dilated": lambda g, x: g.conv(x, (4, 4), (3, 3), pads=2, dilations=[2, 2], group=2),
    "normalisation": lambda g, x: g.batch_norm(x, 4),
    "transposed": lambda g, x: g.node("ConvTranspose", x, g.constant(g.random(4, 4, 1, 1)), g.constant(g.random(4))),
    "normalised conv": lambda g, x: g.batch_norm(g.conv(x, (4, 4), (1, 1), bias=False), 4),
}
LEFT = {"normalisation": "BatchNormalization", "transposed": "Conv"}


@pytest.mark.parametrize(
    ("name", "dtype"),
    # A transposed convolution would become a Conv, of which no double is there yet: it stays, and so does the shift.
    [(name, dtype) for name in MAKES for dtype in ROUNDING if (name, dtype) != ("transposed", "double")],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_shift_moves_into_a_summand(name: str, is_first: bool, dtype: str) -> None:
    g = builder(dtype)
    bent = g.node("Sigmoid", "x")
    made = MAKES[name](g, bent)
    y = shift(g, g.node("Add", *((made, "x") if is_first else ("x", made))))
    assert collapsed(g, [g.node("Tanh", y)]) == {"Sigmoid": 1, LEFT.get(name, "Conv"): 1, "Add": 1, "Tanh": 1}


@pytest.mark.parametrize("dims", [["N", 4, 6, 5], ["N", 4, "H", "W"]], ids=["known", "open"])
def test_sizes_that_only_a_run_tells(dims: Dims) -> None:
    g = builder()
    y = shift(g, g.node("Add", conv(g, g.node("Sigmoid", "x")), "x"))
    assert collapsed(g, [y], dims) == {"Sigmoid": 1, "Conv": 1, "Add": 1}


@pytest.mark.parametrize("dtype", ["float", "float16", "double"])
@pytest.mark.parametrize(
    ("dims", "left"), [(["N", 4], {"Gemm": 1, "Add": 1}), (["N", "T", 4], {"MatMul": 1, "Add": 2})], ids=str
)
def test_of_matrix_products(dims: Dims, left: dict[str, int], dtype: str) -> None:
    g = builder(dtype)
    made = g.matmul(g.node("Sigmoid", "x"), (4, 4), bias=True)
    y = shift(g, g.node("Add", made, "x"), along=(4,))
    assert collapsed(g, [g.node("Tanh", y)], dims) == {"Sigmoid": 1, "Tanh": 1, **left}


@pytest.mark.parametrize("rank", [1, 3])
def test_in_one_and_three_dimensions(rank: int) -> None:
    g = builder()
    made = g.conv(g.node("Sigmoid", "x"), (4, 4), (3,) * rank, pads=1)
    y = shift(g, g.node("Add", made, "x"), along=(4, *(1,) * rank))
    assert collapsed(g, [y], ["N", 4, *[4] * rank]) == {"Sigmoid": 1, "Conv": 1, "Add": 1}


def test_a_difference_becomes_a_sum() -> None:
    g = builder()
    y = shift(g, g.node("Sub", "x", conv(g, g.node("Sigmoid", "x"))))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Conv": 1, "Add": 1}


def test_a_skip_that_is_subtracted_stays_subtracted() -> None:
    g = builder()
    y = shift(g, g.node("Sub", conv(g, g.node("Sigmoid", "x")), "x"))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Conv": 1, "Sub": 1, "Add": 1}


@pytest.mark.parametrize("between", ["nothing", "shift", "scale"])
def test_through_nested_sums(between: str) -> None:
    g = builder()
    inner = g.node("Add", conv(g, g.node("Sigmoid", "x")), "x")
    if between != "nothing":
        inner = g.node("Add" if between == "shift" else "Mul", inner, g.constant(g.random(4, 1, 1)))
    outer = shift(g, g.node("Add", g.node("Tanh", "x"), inner))
    scaled = {"Mul": 1, "Add": 1} if between == "scale" else {}
    left = {"Sigmoid": 1, "Tanh": 1, "Conv": 1, "Add": 2}
    assert collapsed(g, [outer]) == {**left, **scaled, "Add": 2 + len(scaled) // 2}


@pytest.mark.parametrize("scale", ["line", "number"])
def test_a_slope_moves_into_all_summands(scale: str) -> None:
    """Of two convolutions."""
    g = builder()
    both = g.node("Add", conv(g, g.node("Sigmoid", "x")), g.conv(g.node("Tanh", "x"), (4, 4), (1, 1)))
    y = g.batch_norm(both, 4) if scale == "line" else shift(g, g.node("Mul", both, g.constant(0.25)))
    assert collapsed(g, [g.node("Tanh", y)]) == {"Sigmoid": 1, "Tanh": 2, "Conv": 2, "Add": 1}


def test_a_slope_does_not_move_where_a_summand_stays() -> None:
    g = builder()
    y = g.batch_norm(g.node("Add", conv(g, g.node("Sigmoid", "x")), "x"), 4)
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Conv": 1, "Add": 1, "BatchNormalization": 1}


def test_of_a_composed_summand() -> None:
    g = builder()
    made = g.conv(conv(g, g.node("Sigmoid", "x")), (4, 4), (1, 1))
    y = shift(g, g.node("Add", made, "x"))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Conv": 1, "Add": 1}


def test_a_sum_of_three_would_be_two_sums() -> None:
    g = builder()
    y = shift(g, g.node("Sum", "x", conv(g, g.node("Sigmoid", "x")), g.node("Tanh", "x")))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Tanh": 1, "Conv": 1, "Sum": 1, "Add": 1}


def test_several_in_a_row() -> None:
    """Each value is read by the next convolution and by the next sum, as in a residual network."""
    g, x = builder(), "x"
    for _ in range(4):
        x = shift(g, g.node("Add", conv(g, g.node("Sigmoid", x)), x))
    assert collapsed(g, [x]) == {"Sigmoid": 4, "Conv": 4, "Add": 4}


def test_a_sum_that_others_read_stays() -> None:
    g = builder()
    total = g.node("Add", conv(g, g.node("Sigmoid", "x")), "x")
    assert collapsed(g, [g.node("Tanh", total), shift(g, total)]) == {"Sigmoid": 1, "Conv": 1, "Add": 2, "Tanh": 1}


def test_a_sum_that_is_an_output_stays() -> None:
    g = builder()
    total = g.node("Add", conv(g, g.node("Sigmoid", "x")), "x")
    assert collapsed(g, [total, shift(g, total)]) == {"Sigmoid": 1, "Conv": 1, "Add": 2}


def test_a_summand_that_others_read_takes_nothing() -> None:
    g = builder()
    made = conv(g, g.node("Sigmoid", "x"))
    y = shift(g, g.node("Add", made, "x"))
    assert collapsed(g, [g.node("Tanh", made), y]) == {"Sigmoid": 1, "Conv": 1, "Add": 2, "Tanh": 1}


def test_a_summand_that_is_an_output_takes_nothing() -> None:
    g = builder()
    made = conv(g, g.node("Sigmoid", "x"))
    assert collapsed(g, [made, shift(g, g.node("Add", made, "x"))]) == {"Sigmoid": 1, "Conv": 1, "Add": 2}


def test_of_values_that_no_operator_with_weights_makes() -> None:
    g = builder()
    y = shift(g, g.node("Add", g.node("Sigmoid", "x"), "x"))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Add": 2}


def test_a_constant_along_the_width_moves_nowhere() -> None:
    g = builder()
    y = shift(g, g.node("Add", conv(g, g.node("Sigmoid", "x")), "x"), along=(5,))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Conv": 1, "Add": 2}


@pytest.mark.parametrize(("out", "adds"), [(4, 1), (1, 2)])
def test_only_a_summand_with_all_channels_takes_a_line(out: int, adds: int) -> None:
    """A summand may be broadcast, over space or over channels."""
    g = builder()
    made = g.conv(g.node("GlobalAveragePool", g.node("Sigmoid", "x")), (4, out), (1, 1))
    y = shift(g, g.node("Add", made, "x"))
    left = {"Sigmoid": 1, "GlobalAveragePool": 1, "Conv": 1, "Add": adds}
    assert collapsed(g, [g.node("Tanh", y)]) == {**left, "Tanh": 1}


def test_one_value_twice() -> None:
    g = builder()
    bent = g.node("Sigmoid", "x")
    y = shift(g, g.node("Add", g.node("Add", bent, conv(g, g.node("Tanh", "x"))), bent))
    assert collapsed(g, [y]) == {"Sigmoid": 1, "Tanh": 1, "Conv": 1, "Add": 2}


def test_many_summands_and_lines_have_an_end() -> None:
    g = builder()
    total = conv(g, g.node("Sigmoid", "x"))
    for _ in range(3 * lifting.MOST_SUMMANDS):
        total = shift(g, g.node("Add", total, "x"))
    atlas = chart(view_from_model(ir.from_proto(g.model({"x": IMAGE}, [total]))), {})
    found = lined_sums(atlas)
    assert total in found
    assert max(len(one.summands) for one in found.values()) <= lifting.MOST_SUMMANDS + 1


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_chosen(seed: int) -> None:
    """Residual networks with lines behind their sums, at random prices and at those of multiply-adds."""
    source = random.Random(seed)
    g, x = builder(source.choice(["float", "float16"])), "x"
    for _ in range(source.randint(1, 3)):
        made = source.choice(list(MAKES.values()))(g, g.node(source.choice(["Sigmoid", "Tanh"]), x))
        other = source.choice([x, x, g.conv(x, (4, 4), (1, 1)), g.node("Tanh", x)])
        x = g.node(source.choice(["Add", "Add", "Sub"]), *source.sample([made, other], 2))
        for _ in range(source.randint(0, 2)):
            line = g.constant(g.positive(*source.choice([(4, 1, 1), (1,), (1, 4, 1, 1)])))
            x = g.node(source.choice(["Add", "Add", "Sub", "Mul"]), *source.sample([x, line], 2))
    model = g.model({"x": IMAGE}, [x])
    feeds = feeds_for(model, np.random.default_rng(1), SIZES)
    for prices in (MultiplyAdds({}), RandomPrices(source)):
        found = stages(model, latency=prices)
        some = tuple(region for region in found.regions if source.random() < 0.8)
        for regions in (found.regions, some):
            assert_same(ir.to_proto(rewrite(found.model, found.view, regions)), model, feeds, 3 * ROUNDING[g.dtype])


def test_the_journal_names_the_summands() -> None:
    g = builder()
    y = shift(g, g.node("Add", conv(g, g.node("Sigmoid", "x")), "x"))
    found = stages(g.model({"x": IMAGE}, [y]))
    (entry,) = journal(found.view, found.regions)
    assert entry.made == "Conv 3x3 4→4 + x"
    assert len(entry.replaced) == 3
    assert len(entry.before.operators) == 3


def residual(dims: Dims = IMAGE) -> onnx.ModelProto:
    g = builder()
    x = shift(g, g.node("Add", conv(g, g.node("Sigmoid", "x")), "x"))
    x = shift(g, g.node("Add", conv(g, g.node("Sigmoid", x)), x))
    return g.model({"x": dims}, [x])


def test_a_region_is_timed_from_all_it_starts_from() -> None:
    found = stages(residual())
    rng = np.random.default_rng(0)
    config = SessionConfig(threads=1)
    trials = try_regions(found.model, found.atlas, found.regions, dims={"N": 1}, config=config, rng=rng)
    assert len(trials) == 2
    assert all(trial.comparison is not None and trial.is_smaller for trial in trials)
    assert trials[0].comparison is trials[1].comparison, "the same operators, timed once"


@pytest.mark.parametrize("latency", ["off", "macs"])
def test_from_end_to_end(latency: str) -> None:
    outcome = collapse(ir.from_proto(residual()), "residual", Options(latency=latency, config=SessionConfig(threads=1)))
    assert outcome.model is not None
    assert operators(ir.to_proto(outcome.model)) == {"Sigmoid": 2, "Conv": 2, "Add": 2}
    assert outcome.verdict is not None
    assert outcome.verdict.passed


@dataclass(frozen=True)
class Dear(MultiplyAdds):
    """What is timed anew seems twice as slow."""

    def single(self, form: Form, value: str) -> float:
        return 2 * super().single(form, value)


def test_an_operator_is_not_priced_anew_for_its_bias() -> None:
    """Noise would decide."""
    regions = plan(stages(residual()).atlas, Dear({}))
    assert [len(choice.beside) for region in regions for choice in region.choices] == [1, 1]


def test_an_operator_that_the_line_adds_is_priced() -> None:
    """A matrix product without a bias needs a sum more."""
    g = builder()
    made = g.matmul(g.node("Sigmoid", "x"), (4, 4))
    y = shift(g, g.node("Add", made, "x"), along=(4,))
    assert collapsed(g, [y], ["N", "T", 4]) == {"Sigmoid": 1, "MatMul": 1, "Add": 2}


@pytest.mark.parametrize("which", [0, 1])
def test_inside_a_branch(which: int) -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    g (float[N,3,6,5] x, bool flag) => (float[N,3,6,5] y) {
      y = If (flag) <
        then_branch = t () => (float[N,3,6,5] a) { p = Sigmoid(x) q = Conv(p, w) r = Add(q, x) a = Add(r, c) },
        else_branch = e () => (float[N,3,6,5] b) { b = Tanh(x) }
      >
    }
    """
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (3, 3, 1, 1), "c": (3, 1, 1)}.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    outcome = collapse(ir.from_proto(model), "branches", Options(latency="off"))
    assert outcome.model is not None
    after = ir.to_proto(outcome.model)
    branch = next(a.g for a in after.graph.node[0].attribute if a.name == "then_branch")
    assert [node.op_type for node in branch.node] == ["Sigmoid", "Conv", "Add"]
    feeds = {"x": rng.standard_normal((2, 3, 6, 5)).astype(np.float32), "flag": np.array(bool(which))}
    assert_same(after, model, feeds, ROUNDING["float"])
