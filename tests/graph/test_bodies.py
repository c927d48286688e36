"""Bodies taken out and put back are what they were."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.bodies import Bodies, Place, count_bodies
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.view import view_from_model
from tests.helpers.compare import assert_close, assert_valid, run_runtime
from tests.zoo.control import BLOCKS, inside, outside
from tests.zoo.specimen import fed, normal

FEEDS = {"x": normal(2, 3, 6, 5), "flag": np.array(True), "turns": np.array(2), "s": normal(6, 5)}


def bodies_of(model: onnx.ModelProto) -> Bodies:
    loaded = ir.from_proto(model)
    return Bodies(loaded, view_from_model(loaded))


@pytest.mark.parametrize("make", [inside, outside], ids=["own weights", "captured weights"])
@pytest.mark.parametrize("name", ["If", "Loop", "reading Loop", "If in a Loop"])
def test_out_and_back_changes_nothing(name: str, make) -> None:
    model = make(BLOCKS[name])
    bodies = bodies_of(model)
    for place in bodies.places:
        bodies.put_back(place, bodies.take_out(place))
    after = ir.to_proto(bodies.finish())
    assert_valid(after, model)
    feeds = {info.name: FEEDS[info.name] for info in model.graph.input}
    assert_close(run_runtime(after, feeds), run_runtime(model, feeds), 0.0)
    assert sorted(tensor.name for tensor in after.graph.initializer) == sorted(
        tensor.name for tensor in model.graph.initializer
    )


def test_what_is_taken_from_outside_is_an_input_or_a_weight() -> None:
    body = bodies_of(outside(BLOCKS["reading Loop"])).take_out(Place("y", "body")).graph
    assert [value.name for value in body.inputs] == ["i", "again", "s", "q"]
    assert list(body.initializers) == ["swap"]


def test_a_weight_that_a_caller_may_feed_is_an_input() -> None:
    body = bodies_of(fed(outside(BLOCKS["If"]))).take_out(Place("y", "then_branch")).graph
    assert [value.name for value in body.inputs] == ["x", "grow", "shrink"]
    assert not body.initializers


def test_sizes_from_outside_are_known_and_those_of_its_own_inputs_are_not() -> None:
    body = bodies_of(outside(BLOCKS["reading Loop"])).take_out(Place("y", "body")).graph
    shapes = {value.name: value.shape for value in body.inputs}
    assert shapes["q"] == ("N", 3, 6, 5)
    assert shapes["s"] is not None
    assert list(shapes["s"]) == [None, None, None, None] or not shapes["s"].is_static(), shapes["s"]


def test_stated_sizes_come_back() -> None:
    model = inside(BLOCKS["Loop"])
    bodies = bodies_of(model)
    bodies.put_back(bodies.places[0], bodies.take_out(bodies.places[0]))
    after = ir.to_proto(bodies.finish())
    old, new = (m.graph.node[-1].attribute[0].g.input for m in (model, after))
    assert list(old) == list(new)


def test_new_names_are_those_of_nothing_else() -> None:
    """A value of the main graph has the name that a new one in the body would get, one inside the other too."""
    model = outside(BLOCKS["If"])
    bodies = bodies_of(model)
    place = bodies.places[0]
    editor = Editor(bodies.take_out(place))
    new = editor.node("Neg", [editor.value("x")], hint="x", output="y")
    assert new.name == "y", "free in the body, taken outside of it"
    editor.replace("a", editor.node("Neg", [new], hint="a"))
    bodies.put_back(place, editor.finish())
    after = ir.to_proto(bodies.finish())
    assert_valid(after, model)
    feeds = {"x": FEEDS["x"], "flag": FEEDS["flag"]}
    assert_close(run_runtime(after, feeds), [FEEDS["x"]], 0.0)


def test_a_new_weight_is_not_taken_for_a_value_outside_of_the_same_name() -> None:
    model = outside(BLOCKS["If"])
    bodies = bodies_of(model)
    place = bodies.places[1]
    editor = Editor(bodies.take_out(place))
    shift = editor.constant("grow", [1.0], "float")
    assert shift.name == "grow", "free in this branch, a weight of the other"
    editor.replace("c", editor.node("Add", [editor.value("x"), shift], hint="c"))
    bodies.put_back(place, editor.finish())
    after = ir.to_proto(bodies.finish())
    assert_valid(after, model)
    feeds = {"x": FEEDS["x"], "flag": np.array(False)}
    assert_close(run_runtime(after, feeds), [FEEDS["x"] + 1], 0.0)


def test_weights_that_no_body_needs_any_more_go() -> None:
    bodies = bodies_of(outside(BLOCKS["If"]))
    place = bodies.places[0]
    editor = Editor(bodies.take_out(place))
    editor.replace("a", editor.node("Neg", [editor.value("x")], hint="a"))
    bodies.put_back(place, editor.finish())
    assert list(bodies.finish().graph.initializers) == ["swap"]


def test_bodies_before_ir_4_and_of_other_domains_are_not_looked_into() -> None:
    model = outside(BLOCKS["If"])
    assert count_bodies(ir.from_proto(model)) == 2
    model.graph.node[0].domain = "com.example"
    assert count_bodies(ir.from_proto(model)) == 0
    model.graph.node[0].domain = ""
    model.ir_version = 3
    assert count_bodies(ir.from_proto(model)) == 0
