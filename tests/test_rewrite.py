"""Rewrites: the new model, what is in its journal, and that the old one is as it was."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.rewrite import computed_weights, journal, rewrite
from tests.helpers.build import Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import Stages, stages

SIZES = {"N": 3}


def builder(**kinds: str) -> Builder:
    return Builder(np.random.default_rng(0), **kinds)  # type: ignore[arg-type]


def carried_out(found: Stages) -> onnx.ModelProto:
    return ir.to_proto(rewrite(found.model, found.view, found.regions))


def chain(g: Builder) -> onnx.ModelProto:
    return g.model({"x": ["N", 4]}, [g.gemm(g.gemm("x", (4, 6)), (6, 5))])


def test_the_input_is_not_changed_and_the_result_is_the_same_each_time() -> None:
    found = stages(chain(builder()))
    before = ir.to_proto(found.model).SerializeToString()
    first = carried_out(found).SerializeToString()
    assert first == carried_out(found).SerializeToString()
    assert ir.to_proto(found.model).SerializeToString() == before
    assert first != before


def test_no_regions_change_nothing() -> None:
    found = stages(chain(builder()))
    assert ir.to_proto(rewrite(found.model, found.view, [])) == ir.to_proto(found.model)


def test_regions_stand_alone() -> None:
    """Any of them may be left out."""
    g = builder()
    y = "x"
    for _ in range(3):
        y = g.node("Sigmoid", g.gemm(g.gemm(y, (4, 4)), (4, 4)))
    model = g.model({"x": ["N", 4]}, [y])
    found = stages(model)
    assert len(found.regions) == 3
    for kept in ((0,), (1,), (0, 2), (2, 1)):
        new = ir.to_proto(rewrite(found.model, found.view, [found.regions[at] for at in kept]))
        assert operators(new)["Gemm"] == 6 - len(kept)
        assert_same(new, model, feeds_for(model, np.random.default_rng(1), SIZES), 1e-6)


def test_the_journal_says_what_is_made_from_what() -> None:
    found = stages(chain(builder()))
    (entry,) = journal(found.view, found.regions)
    assert (entry.source, entry.made, len(entry.replaced)) == ("x", "Dense 4→5", 2)
    assert entry.value == entry.region == found.view.outputs[0]


@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
def test_new_weights_have_the_type_of_the_value(dtype: str) -> None:
    model = chain(builder(dtype=dtype))
    new = carried_out(stages(model))
    assert operators(new) == {"Gemm": 1}
    assert {tensor.data_type for tensor in new.graph.initializer} == {model.graph.input[0].type.tensor_type.elem_type}
    assert_same(new, model, feeds_for(model, np.random.default_rng(1), SIZES), 2e-2 if dtype == "float16" else 1e-6)


def test_a_source_of_another_type_is_cast() -> None:
    g = builder()
    wide = g.node("Cast", "x", to=onnx.TensorProto.DOUBLE)
    weight = np.random.default_rng(0).standard_normal((4, 4))
    y = g.node("MatMul", g.node("MatMul", wide, g.constant(weight)), g.constant(weight))
    model = g.model({"x": ["N", 4]}, [y])
    new = carried_out(stages(model))
    assert operators(new) == {"Cast": 1, "MatMul": 1}
    assert_same(new, model, feeds_for(model, np.random.default_rng(1), SIZES), 1e-5)


def test_constants_that_operators_compute_become_weights_and_are_in_the_journal() -> None:
    g = builder()
    relu = g.node("Relu", g.constant(g.random(4)))
    deep = g.node("Abs", g.node("Neg", g.constant(g.random(4))))
    y = g.node("Mul", g.node("Mul", g.node("Sigmoid", "x"), relu), deep)
    model = g.model({"x": ["N", 4]}, [g.node("Sigmoid", y)])
    found = stages(model, "none")
    assert set(computed_weights(found.view)) == {relu, deep}
    entries = journal(found.view, ())
    assert [(entry.value, entry.source, entry.made) for entry in entries] == [
        (name, "", "constant") for name in sorted((relu, deep))
    ]
    new = ir.to_proto(rewrite(found.model, found.view, ()))
    assert operators(new) == {"Sigmoid": 2, "Mul": 2}
    assert_same(new, model, feeds_for(model, np.random.default_rng(1), SIZES), 1e-6)


def test_a_constant_that_is_an_output_keeps_its_name() -> None:
    g = builder()
    y = g.node("Relu", g.constant(g.random(4)))
    model = g.model({"x": ["N", 4]}, [y, g.node("Sigmoid", "x")])
    new = carried_out(stages(model, "none"))
    assert operators(new) == {"Identity": 1, "Sigmoid": 1}
    assert_same(new, model, feeds_for(model, np.random.default_rng(1), SIZES), 0.0)


def test_an_output_that_becomes_its_source() -> None:
    g = builder()
    y = g.node("Relu", g.node("Sigmoid", "x", out="s"))
    model = g.model({"x": ["N", 4]}, [y, "s"])
    new = carried_out(stages(model))
    assert operators(new) == {"Sigmoid": 1, "Identity": 1}
    assert_same(new, model, feeds_for(model, np.random.default_rng(1), SIZES), 0.0)


def test_the_journal_has_a_picture_of_what_goes() -> None:
    found = stages(chain(builder()))
    (entry,) = journal(found.view, found.regions)
    assert [(drawn.op, drawn.weight) for drawn in entry.before.operators] == [("Gemm", (4, 6)), ("Gemm", (6, 5))]
    assert [drawn.label for drawn in entry.before.operators] == list(entry.replaced)
    assert (entry.before.shape, entry.before.operators[-1].shape) == (("N", 4), ("N", 5))
