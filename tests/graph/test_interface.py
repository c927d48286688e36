import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.interface import compare, interface_of

TEXT = """
<ir_version: 8, opset_import: ["" : 17, "mine" : 1], producer_name: "maker">
g (float[N,2] x, float[2] w, float[1] unused) => (float[N,2] y)
<float[2] w = {1,2}, float[2] v = {1,2}> { a = Add(x, w) b = Mul(a, v) y = mine.F(b) }
<domain: "mine", opset_import: ["" : 17]> F (a) => (o) { o = Relu(a) }
"""


def model(ir_version=8):
    made = ir.from_proto(onnx.parser.parse_model(TEXT))
    made.ir_version = ir_version
    return made


def differences(change, ir_version=8):
    before, after = model(ir_version), model(ir_version)
    change(after)
    return compare(interface_of(before), interface_of(after))


def without_first_function(m):
    m.functions.clear()


def with_another_function(m):
    other = helper.make_function("mine", "G", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [])
    function = ir.from_proto(other)
    m.functions[function.identifier()] = function


CHANGES = {
    "ir version changed: 8 → 9": lambda m: setattr(m, "ir_version", 9),
    "opsets changed: (('', 17), ('mine', 1)) → (('', 18), ('mine', 1))": lambda m: m.opset_imports.update({"": 18}),
    "producer changed: ('maker', '') → ('us', '')": lambda m: setattr(m, "producer_name", "us"),
    "identity changed: ('', 0, 'g') → ('', 3, 'g')": lambda m: setattr(m, "model_version", 3),
    "doc strings changed: ('', '') → ('', 'what')": lambda m: setattr(m.graph, "doc_string", "what"),
    "metadata changed: () → (('k', 'v'),)": lambda m: m.metadata_props.update(k="v"),
    "graph metadata changed: () → (('k', 'v'),)": lambda m: m.graph.metadata_props.update(k="v"),
    "inputs changed: ['x', 'w', 'unused'] → ['x', 'w']": lambda m: m.graph.inputs.pop(),
    "inputs changed: ['x', 'w', 'unused'] → ['x', 'unused', 'w']": lambda m: m.graph.inputs.append(
        m.graph.inputs.pop(1)
    ),
    "outputs changed: ['y'] → ['z']": lambda m: setattr(m.graph.outputs[0], "name", "z"),
    "input 'x': shape changed: ('N', 2) → (1, 2)": lambda m: setattr(m.graph.inputs[0], "shape", ir.Shape([1, 2])),
    "input 'x': shape changed: ('N', 2) → None": lambda m: setattr(m.graph.inputs[0], "shape", None),
    "output 'y': type changed: 'Tensor(FLOAT)' → 'Tensor(DOUBLE)'": lambda m: setattr(
        m.graph.outputs[0], "dtype", ir.DataType.DOUBLE
    ),
    "output 'y': type changed: 'Tensor(FLOAT)' → 'Tensor(FLOAT) IMAGE'": lambda m: setattr(
        m.graph.outputs[0], "type", ir.TensorType(ir.DataType.FLOAT, denotation="IMAGE")
    ),
    "input 'x': denotations changed: ('', '') → ('DATA_BATCH', '')": lambda m: m.graph.inputs[0].shape.set_denotation(
        0, "DATA_BATCH"
    ),
    "output 'y': doc string changed: '' → 'what'": lambda m: setattr(m.graph.outputs[0], "doc_string", "what"),
    "output 'y': metadata changed: () → (('k', 'v'),)": lambda m: m.graph.outputs[0].metadata_props.update(k="v"),
    "function mine::F:: is gone": without_first_function,
    "function mine::G:: is new": with_another_function,
    "function mine::F:: changed": lambda m: setattr(next(iter(m.functions.values()))[0], "op_type", "Abs"),
    "input 'w' is no longer a weight": lambda m: m.graph.initializers.pop("w"),
}


@pytest.mark.parametrize(("line", "change"), CHANGES.items(), ids=[line[:30] for line in CHANGES])
def test_each_change_is_told(line, change):
    assert differences(change)[0] == line


def test_no_change_no_words():
    assert differences(lambda m: None) == []


def test_long_values_are_cut():
    (line,) = differences(lambda m: m.metadata_props.update(k="v" * 10_000))
    assert len(line) < 300


def test_the_long_name_of_the_default_domain_is_the_same():
    def rename(m):
        m.opset_imports["ai.onnx"] = m.opset_imports.pop("")

    assert differences(rename) == []


def drop_weight(m):
    add = m.graph[0]
    add.replace_input_with(1, m.graph.initializers["v"])
    del m.graph.initializers["w"]
    m.graph.inputs.pop(1)


def test_a_weight_input_may_go_before_ir_4():
    assert differences(drop_weight, ir_version=3) == []
    assert differences(drop_weight, ir_version=4)[0] == "inputs changed: ['x', 'w', 'unused'] → ['x', 'unused']"


def add_weight(m):
    value = ir.Value(
        name="new", const_value=ir.tensor([1.0]), shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    m.graph.register_initializer(value)
    m.graph.inputs.append(value)


def test_a_weight_input_may_come_before_ir_4():
    assert differences(add_weight, ir_version=3) == []
    assert differences(add_weight, ir_version=4)[0].startswith("inputs changed: ['x', 'w', 'unused'] → ['x', 'w', ")


def test_other_inputs_may_not_go_before_ir_4():
    assert differences(lambda m: m.graph.inputs.pop(), ir_version=3) != []


def test_the_editor_keeps_it():
    before = model()
    editor = Editor(before)
    editor.replace("b", editor.node("Neg", [editor.value("a")], hint="b"))
    assert compare(interface_of(before), interface_of(editor.finish())) == []
