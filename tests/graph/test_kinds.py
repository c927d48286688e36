import sys

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnx_nepenthe.errors import UnreadableError, UnsupportedError, UsageError
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.graph.kinds import Kind, from_ir, to_ir
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.save import save

RICH = """
<ir_version: 9, opset_import: ["" : 17, "mine" : 4], producer_name: "maker", producer_version: "1.5",
 domain: "org.example", model_version: 7, doc_string: "what it is for">
g (float[batch,3] x, bool c, float[anything] unused) => (float[batch,3] y, float[batch,3] z)
{
  h = Mul(x, w)
  k = mine.F <alpha = 2.0> (h)
  y = If (c) <
    then_branch = t () => (float[batch,3] a) { b = Add(k, w) a = Add(b, inner) },
    else_branch = e () => (float[batch,3] d) { d = mine.Unheard <how = "so", parts = [1, 2]> (h) }
  >
  z = Sub(k, w)
}
<domain: "mine", opset_import: ["" : 17]> F <alpha> (a) => (o) {
  l = LeakyRelu <alpha: float = @alpha> (a)
  o = Neg(l)
}
"""


def rich():
    model = onnx.parser.parse_model(RICH)
    then = model.graph.node[2].attribute[0].g
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w"))
    then.initializer.append(numpy_helper.from_array(np.array([4, 5, 6], np.float32), "inner"))
    helper.set_model_props(model, {"names": "cat,dog"})
    model.graph.doc_string = "a graph"
    model.graph.metadata_props.add(key="made", value="today")
    model.graph.node[0].metadata_props.add(key="scope", value="first.layer")
    model.graph.node[0].name, model.graph.node[0].doc_string = "scale", "a node"
    model.graph.input[0].metadata_props.add(key="range", value="0..1")
    model.graph.input[0].doc_string = "an image"
    model.graph.input[0].type.denotation = "IMAGE"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    note = model.graph.quantization_annotation.add(tensor_name="h")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    return model


def weights_as_inputs():
    """As written by exporters before IR 4."""
    body = '<ir_version: 3, opset_import: ["" : 9]> g (float[2] x, float[2] w, float[2] v) => (float[2] y)'
    return onnx.parser.parse_model(body + "<float[2] w = {1,2}, float[2] v = {3,4}> { a = Add(x, w) y = Mul(a, v) }")


MODELS = {"rich": rich, "weights as inputs": weights_as_inputs}


def bytes_of(model):
    return model.SerializeToString(deterministic=True)


def through_path(model, tmp_path):
    (tmp_path / "in.onnx").write_bytes(bytes_of(model))
    own, kind = to_ir(tmp_path / "in.onnx")
    assert kind is Kind.PATH
    save(own, tmp_path / "out.onnx", source=tmp_path / "in.onnx")
    return onnx.load(tmp_path / "out.onnx")


def through_proto(model, _):
    before = bytes_of(model)
    own, kind = to_ir(model)
    result = from_ir(own, kind)
    assert kind is Kind.PROTO
    assert bytes_of(model) == before
    assert isinstance(result, onnx.ModelProto)
    return result


def through_ir(model, _):
    held = ir.from_proto(model)
    own, kind = to_ir(held)
    assert kind is Kind.IR
    assert own is not held
    own.graph.name = "ours"
    assert held.graph.name == "g"
    own.graph.name = "g"
    result = from_ir(own, kind)
    assert isinstance(result, ir.Model)
    return ir.to_proto(result)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("through", [through_path, through_proto, through_ir])
def test_nothing_is_lost_on_the_way(make, through, tmp_path):
    result = through(make(), tmp_path)
    expected = bytes_of(ir.to_proto(ir.from_proto(make())))
    assert bytes_of(result) == expected
    assert compare(interface_of(ir.from_proto(make())), interface_of(ir.from_proto(result))) == []


def text_of(messages):
    """Saying that the domain is the default one is the same as saying nothing."""
    lines = "".join(str(message) for message in messages).splitlines()
    return [line for line in lines if line.strip() != 'domain: ""']


def node_lists(model):
    """Of the graph but for the If, and of the bodies of the If; onnx_ir states the type of weights in bodies."""
    node = model.graph.node
    return [[node[0], node[1], node[3]], *([*attribute.g.node] for attribute in node[2].attribute)]


def test_what_the_container_keeps():
    """The oracle of the test above is a round trip; here is what that has to contain."""
    result = from_ir(*to_ir(rich()))
    wanted = rich()
    for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(result, field) == getattr(wanted, field)
    for field in ("opset_import", "metadata_props"):
        assert list(getattr(result, field)) == list(getattr(wanted, field))
    for field in ("input", "output", "name", "doc_string", "metadata_props", "quantization_annotation"):
        assert getattr(result.graph, field) == getattr(wanted.graph, field)
    assert text_of(result.functions) == text_of(wanted.functions)
    for nodes, others in zip(node_lists(result), node_lists(wanted), strict=True):
        assert text_of(nodes) == text_of(others)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_an_edit_that_changes_nothing_loses_nothing(make):
    model = ir.from_proto(make())
    result = Editor(model).finish()
    assert compare(interface_of(model), interface_of(result)) == []
    assert bytes_of(ir.to_proto(result)) == bytes_of(ir.to_proto(model))


def plain_graph():
    body = '<ir_version: 8, opset_import: ["" : 17, "mine" : 4]> g (float[N,2] x, float[1] unused) => (float[N,2] y)'
    proto = onnx.parser.parse_model(body + "<float[2] w = {1,2}> { a = Mul(x, w) b = mine.Unheard(a) y = Relu(b) }")
    return gs.import_onnx(proto), proto


def test_graphsurgeon_in_and_out():
    graph, proto = plain_graph()
    own, kind = to_ir(graph)
    result = from_ir(own, kind)
    assert kind is Kind.GRAPHSURGEON
    assert isinstance(result, gs.Graph)
    assert compare(interface_of(ir.from_proto(proto)), interface_of(own)) == []
    assert [node.op for node in result.nodes] == ["Mul", "Unheard", "Relu"]
    assert [(t.name, t.shape) for t in result.inputs] == [("x", ["N", 2]), ("unused", [1])]
    assert result.nodes[0].inputs[1].values.tolist() == [1, 2]


def test_graphsurgeon_graphs_are_not_changed():
    graph, _ = plain_graph()
    graph.nodes[1].domain = "another"
    imports = [(o.domain, o.version) for o in graph.import_domains]
    own, _ = to_ir(graph)
    assert own.opset_imports == {"": 17, "mine": 4, "another": 1}
    assert [(o.domain, o.version) for o in graph.import_domains] == imports
    own.graph.remove(own.graph[2], safe=False)
    assert len(graph.nodes) == 3


def test_a_graphsurgeon_graph_made_by_hand():
    x, y = gs.Variable("x", np.float32, [2]), gs.Variable("y", np.float32, [2])
    own, _ = to_ir(gs.Graph([gs.Node("Relu", inputs=[x], outputs=[y])], [x], [y], opset=13, ir_version=8))
    assert own.opset_imports == {"": 13}


def test_a_graphsurgeon_graph_that_cannot_be_exported():
    x, y = gs.Variable("x"), gs.Variable("y")
    graph = gs.Graph([gs.Node("Relu", inputs=[x], outputs=[y])], [x], [y], opset=13)
    with pytest.raises(UnreadableError, match="onnx_graphsurgeon cannot export the graph: "):
        to_ir(graph)


def test_graphsurgeon_missing(monkeypatch):
    own, _ = to_ir(weights_as_inputs())
    monkeypatch.setitem(sys.modules, "onnx_graphsurgeon", None)
    with pytest.raises(UsageError, match="run `pip install onnx-graphsurgeon`"):
        from_ir(own, Kind.GRAPHSURGEON)


def test_paths_are_written_elsewhere():
    with pytest.raises(ValueError, match=r"graph\.save\.save"):
        from_ir(ir.from_proto(rich()), Kind.PATH)


@pytest.mark.parametrize("what", [None, 3, b"bytes", onnx.GraphProto(), {"a": 1}])
def test_anything_else(what):
    with pytest.raises(UsageError, match=r"cannot read a model from .*; give a path, an onnx\.ModelProto"):
        to_ir(what)


def test_a_path_may_be_text(tmp_path):
    (tmp_path / "in.onnx").write_bytes(bytes_of(rich()))
    own, kind = to_ir(str(tmp_path / "in.onnx"))
    assert kind is Kind.PATH
    assert compare(interface_of(load(tmp_path / "in.onnx")), interface_of(own)) == []


def test_ir_models_that_cannot_be_taken():
    old = ir.from_proto(weights_as_inputs())
    old.opset_imports[""] = 6
    with pytest.raises(UnsupportedError, match="is of opset 6"):
        to_ir(old)
    twice = ir.from_proto(weights_as_inputs())
    twice.graph[1].outputs[0].name = "a"
    with pytest.raises(UnreadableError, match="no or two values called 'a'"):
        to_ir(twice)
    unsorted = ir.from_proto(weights_as_inputs())
    node = unsorted.graph[0]
    unsorted.graph.remove(node)
    unsorted.graph.append(node)
    with pytest.raises(UnreadableError, match=r"not in topological order.*try model\.graph\.sort\(\) first"):
        to_ir(unsorted)
    unsorted.graph.sort()
    assert len(to_ir(unsorted)[0].graph) == 2
