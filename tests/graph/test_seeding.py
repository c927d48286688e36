"""Operators that draw random numbers get a seed, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph.seeding import seeded
from tests.helpers.build import Builder
from tests.helpers.collapsing import collapse, result_of
from tests.helpers.compare import operators, run_runtime
from tests.helpers.unharmed import builder

X = {"x": np.ones((2, 4), np.float32)}
DRAWS = {
    "RandomNormal": lambda g: g.node("Add", "x", g.node("RandomNormal", shape=[2, 4])),
    "RandomUniformLike": lambda g: g.node("Add", "x", g.node("RandomUniformLike", "x")),
    "Bernoulli": lambda g: g.node("Bernoulli", g.node("Sigmoid", "x")),
    "Multinomial": lambda g: g.node("Cast", g.node("Multinomial", "x", sample_size=4), to=1),
    "Dropout": lambda g: g.node("Dropout", "x", g.constant(0.5), g.constant(np.array(True))),
}


def model_of(name: str, g: Builder) -> onnx.ModelProto:
    return g.model({"x": [2, 4]}, [DRAWS[name](g)])


def proto(model: ir.Model | str | Path) -> onnx.ModelProto:
    made: onnx.ModelProto = ir.to_proto(model)
    return made


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_no_longer_depends_on_where_the_operator_stands(name: str) -> None:
    plain = model_of(name, builder())
    moved = model_of(name, builder())
    moved.graph.node.insert(0, onnx.helper.make_node("Neg", ["x"], ["unused"], name="first"))
    first, second = (run_runtime(proto(seeded(ir.from_proto(m))), X) for m in (plain, moved))
    np.testing.assert_array_equal(first[0], second[0])


def test_models_that_draw_nothing_or_have_seeds_are_handed_back() -> None:
    g = builder()
    y = g.node("Dropout", g.node("RandomNormalLike", "x", seed=2.0))
    model = ir.from_proto(g.model({"x": [2, 4]}, [y]))
    assert seeded(model) is model


def test_namesakes_aside_each_has_a_seed_of_its_own() -> None:
    g = builder()
    y = g.node("Sub", g.node("RandomNormalLike", "x"), g.node("RandomNormalLike", "x"))
    [drawn] = run_runtime(proto(seeded(ir.from_proto(g.model({"x": [2, 4]}, [y])))), X)
    assert drawn.any()


def test_functions_and_files_too(tmp_path: Path) -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17, "own" : 1]>
    g (float[2,4] x) => (float[2,4] y) { y = own.Noise(x) }
    <opset_import: ["" : 17], domain: "own">
    Noise (a) => (b) { n = RandomNormalLike(a) b = Add(a, n) }
    """
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    made = seeded(path)
    assert isinstance(made, ir.Model)
    assert "seed" in next(iter(made.functions.values()))[0].attributes
    with pytest.raises(UnreadableError, match="cannot be read as an ONNX model"):
        seeded(tmp_path / "none.onnx")


def test_a_model_that_draws_is_verified_whatever_moves() -> None:
    """The first convolutions join, so the operator that draws moves up by one."""
    g = builder()
    y = g.conv(g.conv("x", (3, 4), (3, 3)), (4, 2), (1, 1))
    model = g.model({"x": [1, 3, 6, 6]}, [g.node("Add", y, g.node("RandomNormal", shape=[1, 2, 4, 4]))])
    outcome = collapse(model)
    assert operators(result_of(outcome)) == {"Conv": 1, "RandomNormal": 1, "Add": 1}
    assert "seed" not in [a.name for node in result_of(outcome).graph.node for a in node.attribute]
