"""Atlases: what is affine in what, and why something is not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.charting import chart
from onnx_nepenthe.evidence import Proved
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.regions import SEVERAL, WINDOW, Atlas
from tests.helpers.build import Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import collapse_exact
from tests.helpers.priced import atlas_of


def builder(**kinds: str) -> Builder:
    return Builder(np.random.default_rng(0), **kinds)  # type: ignore[arg-type]


def with_lines(model: onnx.ModelProto, slopes: dict[str, list[float]]) -> Atlas:
    """The atlas when these rectifiers are lines through zero."""
    view = view_from_model(ir.from_proto(model))
    decisions = {
        r.key: Decision(r, np.zeros(1, np.int64), np.array(s), np.zeros(len(s)), Proved("so"), len(s), 0)
        for r in find_rectifiers(view)[0]
        if (s := slopes.get(r.key)) is not None
    }
    return chart(view, decisions)


def test_dominators_are_what_every_path_passes() -> None:
    g = builder()
    s = g.gemm("x", (4, 4))
    left, right = g.gemm(s, (4, 4)), g.gemm(s, (4, 4))
    y = g.node("Add", left, g.node("Neg", right))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    assert atlas.parents[left] == atlas.parents[right] == atlas.parents[y] == s
    assert [*atlas.sources(y)] == [s, "x"]
    assert (atlas.depth[s], atlas.depth[left], atlas.depth[y]) == (1, 2, 2)


def test_dominators_reach_back_a_bounded_way() -> None:
    g = builder()
    y = "x"
    for _ in range(WINDOW + 5):
        y = g.node("Neg", y)
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    assert len([*atlas.sources(y)]) == WINDOW


def test_a_sum_of_different_sources_has_none() -> None:
    g = builder()
    y = g.node("Add", g.node("Sigmoid", "x"), g.gemm("x", (4, 4)))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    assert y in atlas.affine
    assert y not in atlas.parents
    assert atlas.form("x", y) == SEVERAL


def test_an_operator_that_mixes_sources_starts_anew() -> None:
    g = builder()
    z = g.node("Add", g.node("Sigmoid", "x"), "x")
    y = g.gemm(g.gemm(z, (4, 4)), (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    assert [*atlas.sources(y)][-1] == z


def test_paths_are_in_order_and_end_at_the_source() -> None:
    g = builder()
    s = g.gemm("x", (4, 4))
    left, right = g.gemm(s, (4, 4)), g.gemm(s, (4, 4))
    y = g.node("Add", left, right)
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    assert atlas.path("x", y) == [s, left, right, y]
    assert atlas.path(s, y) == [left, right, y]
    assert atlas.path(y, y) == []


def test_forms_are_remembered_and_can_be_dropped() -> None:
    g = builder()
    y = g.gemm("x", (4, 4))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    first = atlas.form("x", y)
    assert atlas.form("x", y) is first
    atlas.forget()
    assert atlas.form("x", y) is not first


def test_refusals_name_the_operator() -> None:
    g = builder()
    y = g.node("Gemm", "x", "w")
    model = g.model({"x": [2, 4], "w": [4, 4]}, [y])
    (refusal,) = atlas_of(model).refusals
    assert refusal.key == y
    assert refusal.label == model.graph.node[0].name
    assert "not constant" in refusal.refusal.reason


def test_skipped_operators_are_neither_read_nor_refused() -> None:
    g = builder()
    y = g.gemm(g.node("Mul", "x", g.constant(2.0)), (4, 4))
    view = view_from_model(ir.from_proto(g.model({"x": [2, 4]}, [y])))
    atlas = chart(view, {}, skip=frozenset({"Gemm"}))
    assert [*atlas.affine] == [view.ops[0].key]
    assert not atlas.refusals


def test_operators_of_other_domains_are_not_read() -> None:
    g = builder()
    y = g.gemm("x", (4, 4))
    model = g.model({"x": [2, 4]}, [y])
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    assert not atlas_of(model).affine


def test_integers_are_not_read() -> None:
    g = builder()
    y = g.node("Add", g.node("Cast", "x", to=onnx.TensorProto.INT64), g.constant(np.ones(4, np.int64)))
    assert y not in atlas_of(g.model({"x": [2, 4]}, [y])).affine


def test_constants_are_nobodys_business() -> None:
    g = builder()
    c = g.node("Mul", g.constant(g.random(4)), g.constant(g.random(4)))
    y = g.node("Add", "x", c)
    assert [*atlas_of(g.model({"x": [2, 4]}, [y])).affine] == [y]


def test_weights_that_are_not_finite_are_refused() -> None:
    g = builder()
    y = g.node("Mul", "x", g.constant(np.full(4, np.inf, np.float32)))
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    assert y not in atlas.affine
    assert [refusal.refusal.reason for refusal in atlas.refusals] == ["its weights are not finite"]


def test_operands_of_unknown_rank_are_refused() -> None:
    g = builder()
    model = g.model({"x": [2, 4, 6, 5]}, [g.conv("x", (4, 4), (1, 1))])
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
    atlas = atlas_of(model)
    assert not atlas.affine
    assert [refusal.refusal.reason for refusal in atlas.refusals] == ["the rank of its input is not known"]


def test_a_decided_rectifier_is_a_line_and_says_so() -> None:
    g = builder()
    y = g.node("Relu", "x")
    atlas = with_lines(g.model({"x": [2, 4]}, [g.node("Sigmoid", y)]), {y: [1, 0, 1, 0]})
    assert atlas.affine[y].rectifier
    assert atlas.affine[y].operands == ("x",)
    form = atlas.form("x", y)
    assert isinstance(form, Form)
    assert form.core.scale.tolist() == [1, 0, 1, 0]


def test_what_is_off_is_a_constant_and_so_is_what_follows() -> None:
    g = builder()
    off = g.node("Relu", "x")
    after = g.gemm(off, (4, 4))
    further = g.node("Neg", after)
    atlas = with_lines(g.model({"x": [2, 4]}, [further, g.node("Sigmoid", off)]), {off: [0.0]})
    assert {name: atlas.constants[name][1].shape for name in (off, after, further)} == {
        off: (1,),
        after: (4,),
        further: (4,),
    }
    assert {*atlas.roots.values()} == {"x"}


def test_a_sum_with_what_is_off_is_affine_in_the_other_operand() -> None:
    """The two come from different nonlinear values."""
    g = builder()
    off = g.gemm(g.node("Relu", g.node("Tanh", "x")), (4, 4))
    y = g.node("Add", g.node("Sigmoid", "x"), off)
    atlas = with_lines(g.model({"x": [2, 4]}, [y]), {atlas_key: [0.0] for atlas_key in _relus(g)})
    assert len(atlas.affine[y].operands) == 1
    assert y in atlas.parents


def _relus(g: Builder) -> list[str]:
    return [node.output[0] for node in g.nodes if node.op_type == "Relu"]


def test_sums_of_other_shapes_are_left_alone() -> None:
    g = builder()
    off = g.node("Relu", "x")
    y = g.node("Add", g.node("Sigmoid", "z"), off)
    atlas = with_lines(g.model({"x": [1, 4], "z": [2, 4]}, [y]), {off: [0.0]})
    assert y not in atlas.parents


@pytest.mark.parametrize("dims", [[2, 4], ["N", 4]], ids=["known", "any"])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
def test_a_branch_that_is_off_folds_into_the_other(op_type: str, dims: list[int | str]) -> None:
    """-|tanh x| is never above zero."""
    g = builder()
    off = g.node("Relu", g.node("Neg", g.node("Abs", g.node("Tanh", "x"))))
    y = g.node(op_type, g.node("Sigmoid", "x"), g.gemm(off, (4, 4)))
    model = g.model({"x": dims}, [g.node("Sin", y)])
    after = collapse_exact(model)
    assert "Tanh" not in operators(after)
    assert operators(after)["Sin"] == 1
    assert_same(after, model, feeds_for(model, np.random.default_rng(1), {"N": 3}), 1e-6)


def test_every_part_of_a_split_is_affine() -> None:
    g = builder()
    left, right = g.node_n("Split", "x", g.constant(np.array([1, 3])), outs=("left", "right"), axis=1)
    atlas = atlas_of(g.model({"x": [2, 4]}, [left, right]))
    assert [(atlas.affine[name].output, atlas.parents[name]) for name in (left, right)] == [(0, "x"), (1, "x")]
