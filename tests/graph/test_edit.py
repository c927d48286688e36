import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.graph.view import view_from_model

HEADER = 'ir_version: 8, opset_import: ["" : 17]'
IR3 = 'ir_version: 3, opset_import: ["" : 9]'
X = np.array([-1.5, 2.0], np.float32)


def model(body, header=HEADER):
    return ir.from_proto(onnx.parser.parse_model(f"<{header}> g {body}"))


def run(made, **feeds):
    """Outputs by onnxruntime without its optimiser, which onnx.reference has to confirm."""
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, feeds)
    for one, other in zip(outputs, ReferenceEvaluator(proto).run(None, feeds), strict=True):
        np.testing.assert_array_equal(one, other)
    return [output.tolist() for output in outputs]


def kinds(made):
    return [node.op_type for node in made.graph]


def names_of(made):
    graphs = list(made.graphs())
    values = [v.name for g in graphs for v in g.initializers.values() if not v.is_graph_input()]
    values += [v.name for g in graphs for v in g.inputs]
    return values + [v.name for g in graphs for node in g for v in node.outputs]


CHAIN = "(float[2] x) => (float[2] y) { a = Neg(x) b = Relu(a) y = Abs(b) }"


def test_the_given_model_is_not_changed():
    given = model(CHAIN)
    before = ir.to_proto(given).SerializeToString()
    editor = Editor(given)
    editor.replace("b", editor.node("Add", [editor.value("a"), editor.constant("one", [1, 1], "float")], hint="b"))
    editor.replace("y", editor.value("b"))
    editor.finish()
    assert ir.to_proto(given).SerializeToString() == before


def test_a_value_in_the_middle():
    editor = Editor(model(CHAIN))
    editor.replace("b", editor.value("a"))
    made = editor.finish()
    assert kinds(made) == ["Neg", "Abs"]
    assert run(made, x=X) == [[1.5, 2.0]]


def test_an_output_keeps_its_name_type_and_shape():
    given = model(CHAIN)
    given.graph.outputs[0].metadata_props["k"] = "v"
    given.graph.outputs[0].doc_string = "what"
    editor = Editor(given)
    editor.replace("y", editor.node("Exp", [editor.value("a")], hint="y"))
    made = editor.finish()
    assert kinds(made) == ["Neg", "Exp"]
    assert compare(interface_of(given), interface_of(made)) == []


def test_an_output_may_take_the_place_of_another_value():
    editor = Editor(model("(float[2] x) => (float[2] y) { a = Neg(x) b = Relu(a) y = Identity(b) }"))
    editor.replace("y", editor.value("a"))
    made = editor.finish()
    assert kinds(made) == ["Neg"]
    assert run(made, x=X) == [[1.5, -2.0]]


@pytest.mark.parametrize("version", [HEADER, IR3])
def test_an_output_that_becomes_an_input(version):
    given = model(CHAIN, version)
    editor = Editor(given)
    editor.replace("y", editor.value("x"))
    made = editor.finish()
    assert kinds(made) == ["Identity"]
    assert run(made, x=X) == [[-1.5, 2.0]]
    assert compare(interface_of(given), interface_of(made)) == []


@pytest.mark.parametrize("version", [HEADER, IR3])
def test_an_output_that_becomes_a_constant(version):
    editor = Editor(model(CHAIN, version))
    editor.replace("y", editor.constant("c", [3, 4], "float"))
    made = editor.finish()
    assert run(made, x=X) == [[3.0, 4.0]]
    assert [v.name for v in made.graph.inputs] == ["x"]


def test_an_output_that_becomes_a_weight_in_use():
    body = "(float[2] x) => (float[2] y, float[2] z) <float[2] w = {1,2}> { y = Add(x, w) z = Mul(x, w) }"
    editor = Editor(model(body))
    editor.replace("y", editor.value("w"))
    assert run(editor.finish(), x=X) == [[1.0, 2.0], [-1.5, 4.0]]


def test_an_output_that_becomes_another_output():
    editor = Editor(model("(float[2] x) => (float[2] y, float[2] z) { y = Neg(x) a = Neg(x) z = Relu(a) }"))
    editor.replace("z", editor.value("y"))
    made = editor.finish()
    assert kinds(made) == ["Neg", "Identity"]
    assert run(made, x=X) == [[1.5, -2.0]] * 2


def test_an_output_that_is_used_inside_too():
    editor = Editor(model("(float[2] x) => (float[2] y, float[2] z) { y = Relu(x) z = Neg(y) }"))
    editor.replace("y", editor.node("Abs", [editor.value("x")], hint="y"))
    assert run(editor.finish(), x=X) == [[1.5, 2.0], [-1.5, -2.0]]


def test_an_output_replaced_twice():
    editor = Editor(model(CHAIN))
    editor.replace("y", editor.node("Exp", [editor.value("a")], hint="y"))
    editor.replace("y", editor.node("Neg", [editor.value("a")], hint="y"))
    made = editor.finish()
    assert kinds(made) == ["Neg", "Neg"]
    assert run(made, x=X) == [X.tolist()]


def test_a_value_listed_as_output_twice():
    editor = Editor(model("(float[2] x) => (float[2] y, float[2] y) { y = Relu(x) }"))
    editor.replace("y", editor.node("Abs", [editor.value("x")], hint="y"))
    made = editor.finish()
    assert [v.name for v in made.graph.outputs] == ["y", "y"]
    assert kinds(made) == ["Abs"]


def test_what_is_input_and_output_at_once_cannot_be_replaced():
    editor = Editor(model("(float[2] x) => (float[2] x, float[2] y) { y = Neg(x) }"))
    new = editor.node("Neg", [editor.value("y")], hint="x")
    with pytest.raises(ValueError, match="'x' is both input and output of the graph"):
        editor.replace("x", new)


def test_an_input_can_be_replaced_for_its_users():
    editor = Editor(model("(float[2] x) => (float[2] y) { y = Neg(x) }"))
    editor.replace("x", editor.constant("c", [1, 2], "float"))
    made = editor.finish()
    assert run(made, x=X) == [[-1.0, -2.0]]
    assert [v.name for v in made.graph.inputs] == ["x"]


# Constants


def test_equal_constants_are_shared():
    editor = Editor(model(CHAIN))
    one = editor.constant("c", [1, 2], "float")
    assert editor.constant("d", np.array([1.0, 2.0]), "float") is one
    others = [
        editor.constant("c", [1, 2], "double"),
        editor.constant("c", [[1, 2]], "float"),
        editor.constant("c", [1, 3], "float"),
        editor.constant("c", [1, 2], "int64"),
    ]
    assert len({one.name, *(other.name for other in others)}) == 5
    assert editor.constant("z", [0.0], "float") is not editor.constant("z", [-0.0], "float")


@pytest.mark.parametrize(
    ("dtype", "numpy_type"),
    [("float", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16), ("int64", np.int64)],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)])
def test_constants_have_the_type_asked_for(dtype, numpy_type, shape):
    editor = Editor(model(CHAIN))
    value = editor.constant("c", np.ones(shape), dtype)
    assert value.const_value.numpy().dtype == numpy_type
    assert tuple(value.shape) == shape


def test_a_constant_does_not_follow_its_array():
    array = np.array([1.0, 2.0], np.float32)
    editor = Editor(model(CHAIN))
    value = editor.constant("c", array, "float")
    array[0] = 9
    assert value.const_value.numpy().tolist() == [1, 2]


def test_before_ir_4_a_constant_is_a_node():
    given = model(CHAIN, IR3)
    editor = Editor(given)
    two = editor.constant("two", [2, 2], "float")
    editor.replace("b", editor.node("Mul", [editor.value("a"), two], hint="b"))
    editor.replace("y", editor.node("Mul", [editor.value("b"), editor.constant("again", [2, 2], "float")], hint="y"))
    made = editor.finish()
    assert kinds(made).count("Constant") == 1
    assert not made.graph.initializers
    assert [v.name for v in made.graph.inputs] == ["x"]


def test_before_ir_4_in_a_graph_without_nodes():
    editor = Editor(model("(float[2] x) => (float[2] x) {}", IR3))
    editor.constant("c", [1], "float")
    assert kinds(editor.finish()) == []


# Names

NESTED = """(bool c, float[2] x) => (float[2] y) {
  h = Relu(x)
  y = If (c) <then_branch = t () => (float[2] fresh) <float[2] kept = {5, 6}> { fresh = Add(h, kept) },
              else_branch = e () => (float[2] o) { o = Neg(h) }>
}"""


def test_new_names_are_new_in_subgraphs_too():
    editor = Editor(model(NESTED))
    assert editor.unique("kept") == "kept_1"
    value = editor.node("Abs", [editor.value("x")], hint="h", output=editor.unique("fresh"))
    editor.replace("h", value)
    made = editor.finish()
    assert len(set(names_of(made))) == len(names_of(made))
    assert run(made, c=np.array(True), x=X) == [[6.5, 8.0]]
    assert run(made, c=np.array(False), x=X) == [[-1.5, -2.0]]


def test_every_name_is_new():
    editor = Editor(model(CHAIN))
    made = [editor.unique("a"), editor.unique("a"), editor.unique("q"), editor.unique("q")]
    assert made == ["a_1", "a_2", "q", "q_1"]


# Dead parts


def test_dead_operators_and_weights_go():
    body = """(float[2] x) => (float[2] y) <float[2] w = {1,2}, float[2] v = {3,4}> {
      a = Mul(x, w) b = Add(a, v) y = Abs(b) }"""
    editor = Editor(model(body))
    editor.replace("y", editor.node("Neg", [editor.value("x")], hint="y"))
    made = editor.finish()
    assert kinds(made) == ["Neg"]
    assert not made.graph.initializers


def test_what_was_new_and_is_dead_goes_too():
    """The new node comes after its dead user in the list."""
    editor = Editor(model(CHAIN))
    editor.replace("a", editor.node("Exp", [editor.value("x")], hint="a"))
    editor.replace("b", editor.node("Abs", [editor.value("x")], hint="b"))
    assert kinds(editor.finish()) == ["Abs", "Abs"]


def test_what_subgraphs_use_stays():
    editor = Editor(model(NESTED))
    made = editor.finish()
    assert kinds(made) == ["Relu", "If"]
    editor = Editor(model(NESTED))
    editor.replace("h", editor.value("x"))
    made = editor.finish()
    assert kinds(made) == ["If"]
    assert run(made, c=np.array(True), x=X) == [[3.5, 8.0]]


def test_weights_that_only_a_subgraph_uses_stay():
    body = """(bool c, float[2] x) => (float[2] y) <float[2] w = {1,2}> {
      y = If (c) <then_branch = t () => (float[2] p) { p = Add(x, w) },
                  else_branch = e () => (float[2] q) { q = Neg(x) }> }"""
    made = Editor(model(body)).finish()
    assert list(made.graph.initializers) == ["w"]
    assert view_from_model(made).captured >= {"w", "x"}


@pytest.mark.parametrize(("version", "inputs"), [(3, ["x", "unused"]), (8, ["x", "w", "unused"])])
def test_unused_inputs_stay_unless_they_were_weights_before_ir_4(version, inputs):
    body = "(float[2] x, float[2] w, float[1] unused) => (float[2] y) <float[2] w = {1,2}> { y = Add(x, w) }"
    editor = Editor(model(body, f'ir_version: {version}, opset_import: ["" : 9]'))
    editor.replace("y", editor.node("Neg", [editor.value("x")], hint="y"))
    made = editor.finish()
    assert [v.name for v in made.graph.inputs] == inputs
    assert run(made, x=X, unused=np.zeros(1, np.float32)) == [[1.5, -2.0]]


def test_a_weight_that_is_an_output_stays():
    body = "(float[2] x) => (float[2] y, float[2] w) <float[2] w = {1,2}> { y = Neg(x) }"
    assert list(Editor(model(body)).finish().graph.initializers) == ["w"]


def test_the_result_is_in_order():
    editor = Editor(model(CHAIN))
    late = editor.node("Mul", [editor.value("x"), editor.constant("c", [2, 2], "float")], hint="late")
    editor.replace("a", late)
    made = editor.finish()
    assert kinds(made) == ["Mul", "Relu", "Abs"]
    assert run(made, x=X) == [[0.0, 4.0]]


def test_opset_and_lookup():
    editor = Editor(model(CHAIN, IR3))
    assert editor.opset == 9
    assert editor.value("b").name == "b"
    with pytest.raises(KeyError):
        editor.value("nobody")
