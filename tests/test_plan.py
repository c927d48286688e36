"""Plans: the cheapest there is, never dearer than what is there, and only over values that may change."""

from __future__ import annotations

import random

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.charting import chart
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.plan import Region, between, plan, required_values
from onnx_nepenthe.prices import EveryExact, MultiplyAdds
from onnx_nepenthe.regions import Affine, Atlas
from tests.helpers.build import Builder
from tests.helpers.exact import stages
from tests.helpers.priced import MadeUp, atlas_of, chosen, every_choice, kept, price, random_atlas


class Stated:
    """Prices by name: of an operator that is kept, and of a single one by (source, value)."""

    def __init__(self, atlas: Atlas, keep: dict[str, float], single: dict[tuple[str, str], float]) -> None:
        self._atlas, self._keep, self._single = atlas, keep, single

    def single(self, form: Form, value: str) -> float:
        named = ((s, price) for (s, v), price in self._single.items() if v == value)
        return next((price for source, price in named if self._atlas.form(source, value) is form), 1000.0)

    def keep(self, value: Affine, form: Form | None) -> float:
        return self._keep[value.name]


def builder() -> Builder:
    return Builder(np.random.default_rng(0))


def sources(regions: tuple[Region, ...]) -> dict[str, str]:
    return {choice.value: choice.source for region in regions for choice in region.choices}


@settings(max_examples=150)
@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_a_plan_is_never_dearer_than_what_is_there(source: random.Random, seed: int) -> None:
    atlas, costs = random_atlas(source), MadeUp(seed)
    assert price(atlas, costs, chosen(atlas, plan(atlas, costs))) <= price(atlas, costs, kept(atlas)) + 1e-9


def test_plans_are_the_cheapest_there_are() -> None:
    """Chains and trees always; of other graphs a few in a thousand, with prices out of thin air, by a few percent."""
    ratios = []
    for seed in range(300):
        atlas, costs = random_atlas(random.Random(seed)), MadeUp(seed)
        choices = every_choice(atlas, 4000)
        if choices is not None:
            best = min(price(atlas, costs, choice) for choice in choices)
            ratios.append(price(atlas, costs, chosen(atlas, plan(atlas, costs))) / best)
    assert len(ratios) > 200
    assert sum(ratio > 1 + 1e-9 for ratio in ratios) <= 1
    assert max(ratios) < 1.1


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_a_chain_is_planned_exactly(length: int, seed: int) -> None:
    g = builder()
    y = "x"
    for _ in range(length):
        y = g.gemm(y, (4, 4))
    atlas, costs = atlas_of(g.model({"x": [2, 4]}, [y])), MadeUp(seed)
    choices = every_choice(atlas, 4000)
    assume(choices is not None)
    assert choices is not None
    best = min(price(atlas, costs, choice) for choice in choices)
    assert price(atlas, costs, chosen(atlas, plan(atlas, costs))) <= best + 1e-9


def fork() -> tuple[Atlas, str, str, str]:
    """x → s → two values that something nonlinear needs."""
    g = builder()
    s = g.gemm("x", (4, 4))
    a, b = g.gemm(s, (4, 4)), g.gemm(s, (4, 4))
    return atlas_of(g.model({"x": [2, 4]}, [g.node("Sigmoid", a), g.node("Tanh", b)])), s, a, b


def test_a_shared_value_is_not_computed_twice_at_a_loss() -> None:
    """Each user alone would rather start from x (8 < 10 + 1); both together would not (16 > 12)."""
    atlas, s, a, b = fork()
    assert plan(atlas, Stated(atlas, {s: 10, a: 1, b: 1}, {("x", a): 8, ("x", b): 8})) == ()


def test_a_shared_value_is_computed_twice_at_a_gain() -> None:
    atlas, s, a, b = fork()
    regions = plan(atlas, Stated(atlas, {s: 10, a: 1, b: 1}, {("x", a): 5, ("x", b): 5}))
    assert sources(regions) == {a: "x", b: "x"}


def test_a_shared_value_shared_further_up_is_not_computed_twice_at_a_loss() -> None:
    g = builder()
    p = g.gemm("x", (4, 4))
    s = g.gemm(p, (4, 4))
    a, b = g.gemm(s, (4, 4)), g.gemm(s, (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4]}, [g.node("Sigmoid", a), g.node("Tanh", b)]))
    costs = Stated(atlas, {p: 10, s: 9, a: 5, b: 5}, {(p, a): 1, (p, b): 1, ("x", a): 9, ("x", b): 9})
    assert sources(plan(atlas, costs)) == {a: p, b: p}


def test_a_value_that_something_else_needs_is_free_to_start_from() -> None:
    g = builder()
    s = g.gemm("x", (4, 4))
    y = g.gemm(s, (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y, g.node("Sigmoid", s)]))
    assert plan(atlas, Stated(atlas, {s: 10, y: 5}, {("x", y): 7})) == ()
    assert sources(plan(atlas, Stated(atlas, {s: 10, y: 5}, {("x", y): 4}))) == {y: "x"}


def test_a_tie_changes_nothing() -> None:
    g = builder()
    y = g.gemm(g.gemm("x", (4, 4)), (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    first = next(iter(atlas.affine))
    assert plan(atlas, Stated(atlas, {first: 2, y: 3}, {("x", y): 5})) == ()
    assert sources(plan(atlas, Stated(atlas, {first: 2, y: 3}, {("x", y): 4.9}))) == {y: "x"}


def test_graph_outputs_and_operands_of_nonlinear_operators_are_required() -> None:
    g = builder()
    a = g.gemm("x", (4, 4))
    b = g.gemm(a, (4, 4))
    c = g.gemm(b, (4, 4))
    d = g.node("Mul", c, g.node("Sigmoid", b))
    atlas = atlas_of(g.model({"x": [2, 4]}, [a, d]))
    assert required_values(atlas) == {a, b, c}


def test_a_sum_of_values_from_different_sources_needs_both() -> None:
    g = builder()
    a, b = g.gemm("x", (4, 4)), g.gemm("z", (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4], "z": [2, 4]}, [g.node("Add", a, b)]))
    assert required_values(atlas) >= {a, b}


def test_values_that_subgraphs_capture_are_required() -> None:
    atlas = chart(view_from_model(ir.from_proto(branching())), {})
    assert "a" in required_values(atlas)
    assert "b" not in required_values(atlas)
    regions = plan(atlas, EveryExact({}))
    assert "c" in sources(regions)
    assert sources(regions)["c"] in ("x", "a")


def branching() -> onnx.ModelProto:
    """x → a → b → c; one branch of an If reads a."""
    body = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["negated"])],
        "then",
        [],
        [helper.make_tensor_value_info("negated", TensorProto.FLOAT, [2, 4])],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"])],
        "else",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, [2, 4])],
    )
    g = builder()
    weights = [g.constant(g.random(4, 4), name) for name in ("wa", "wb", "wc")]
    for before, weight, after in zip("xab", weights, "abc", strict=True):
        g.node("MatMul", before, weight, out=after)
    condition = g.node("Greater", g.node("ReduceSum", "x", keepdims=0), g.constant(0.0))
    g.node("If", condition, out="d", then_branch=body, else_branch=other)
    return g.model({"x": [2, 4]}, ["c", "d"])


def test_labels_are_in_the_order_of_computation() -> None:
    g = builder()
    first = g.gemm("x", (4, 4))
    left = g.gemm(g.gemm(first, (4, 4)), (4, 4))
    right = g.gemm(first, (4, 4))
    y = g.node("Add", right, left)
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    order = {op.label: at for at, op in enumerate(atlas.view.ops)}
    labels = between(atlas, "x", y)
    assert set(labels) == set(order)
    assert order[labels[0]] == 0
    assert labels.index(atlas.affine[left].op.label) < labels.index(atlas.affine[y].op.label)
    assert len(between(atlas, first, left)) == 2


def test_a_region_holds_the_choices_that_start_from_each_other() -> None:
    g = builder()
    a = g.gemm(g.gemm("x", (4, 4)), (4, 4))
    b = g.gemm(g.gemm(a, (4, 4)), (4, 4))
    c = g.gemm(g.gemm(g.node("Relu", b), (4, 4)), (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4]}, [a, c]))
    regions = plan(atlas, EveryExact({}))
    assert [(region.name, [choice.value for choice in region.choices]) for region in regions] == [(b, [a, b]), (c, [c])]
    assert all(region.gain > 0 for region in regions)


def one_between(op_type: str, *constants: np.ndarray, **attributes: object) -> tuple[Atlas, str, str]:
    g = builder()
    source = g.node("Sigmoid", "x")
    value = g.node(op_type, source, *map(g.constant, constants), **attributes)
    return atlas_of(g.model({"x": [2, 3, 4, 4]}, [g.node("Sigmoid", value)])), source, value


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes"),
    [
        ("Transpose", [], {"perm": [0, 2, 1, 3]}),
        ("Reshape", [np.array([2, 48])], {}),
        ("Flatten", [], {}),
        ("GlobalAveragePool", [], {}),
        ("Mul", [np.float32([2.0])], {}),
    ],
)
def test_an_operator_that_would_be_written_as_it_is_stays(
    op_type: str, constants: list[np.ndarray], attributes: dict[str, object]
) -> None:
    atlas, source, value = one_between(op_type, *constants, **attributes)
    assert isinstance(atlas.form(source, value), Form)
    assert plan(atlas, Stated(atlas, {value: 10.0}, {(source, value): 1.0})) == ()


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes"),
    [("Mul", [np.float32([1.0])], {}), ("Add", [np.float32([0.0])], {}), ("Transpose", [], {"perm": [0, 1, 2, 3]})],
)
def test_an_operator_that_does_nothing_goes(
    op_type: str, constants: list[np.ndarray], attributes: dict[str, object]
) -> None:
    atlas, source, value = one_between(op_type, *constants, **attributes)
    assert sources(plan(atlas, EveryExact({}))) == {value: source}


def test_what_needs_no_operator_is_a_region_of_its_own() -> None:
    g = builder()
    a = g.conv(g.node("Sigmoid", "x"), (3, 3), (3, 3), pads=[1, 1, 1, 1])
    b = g.node("Relu", g.node("Sigmoid", a))
    c = g.conv(b, (3, 3), (1, 1))
    d = g.conv(c, (3, 3), (1, 1))
    regions = stages(g.model({"x": [1, 3, 4, 4]}, [b, d])).regions
    assert [[(c.value, c.is_nothing) for c in region.choices] for region in regions] == [[(b, True)], [(d, False)]]


def test_a_long_branch_beside_a_skip_needs_no_deep_stack() -> None:
    g = builder()
    y = "x"
    for _ in range(600):
        y = g.node("Neg", y)
    y = g.node("Add", y, "x")
    atlas = atlas_of(g.model({"x": [2, 4]}, [g.node("Sigmoid", y)]))
    assert isinstance(atlas.form("x", y), Form)
    assert len(atlas.path("x", y)) == 601
    costs = MultiplyAdds({})
    assert price(atlas, costs, chosen(atlas, plan(atlas, costs))) < price(atlas, costs, kept(atlas)) / 100
