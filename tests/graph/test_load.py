import os
import pickle
import zipfile

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError
from onnx_nepenthe.graph import structure
from onnx_nepenthe.graph.load import load, model_from_proto
from onnx_nepenthe.graph.view import view_from_model

SMALL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2] x) => (float[N,3] y)
<float[2,3] w = {1,2,3,4,5,6}, int64[2] s = {-1, 3}> {
  h = MatMul(x, w)
  r = Relu(h)
  y = Reshape(r, s)
}
"""


def small():
    return onnx.parser.parse_model(SMALL)


def parse(body, header='ir_version: 8, opset_import: ["" : 17]'):
    return onnx.parser.parse_model(f"<{header}> g {body}")


def written(tmp_path, proto):
    path = tmp_path / "m.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def error_of(path):
    with pytest.raises(NepentheError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{os.fspath(path)}: ")
    assert "\n" not in message
    return caught.type, message


def test_a_good_file_is_loaded(tmp_path):
    model = load(written(tmp_path, small()))
    assert [node.op_type for node in model.graph] == ["MatMul", "Relu", "Reshape"]
    assert model.ir_version == 8


def test_a_graph_without_nodes_is_fine(tmp_path):
    model = load(written(tmp_path, parse("(float[2] x) => (float[2] x) {}")))
    assert len(model.graph) == 0
    assert view_from_model(model).outputs == ("x",)


def test_missing_file(tmp_path):
    assert error_of(tmp_path / "none.onnx") == (UnreadableError, f"{tmp_path / 'none.onnx'}: there is no such file")


def test_folder(tmp_path):
    assert "is a folder; give the .onnx file in it" in error_of(tmp_path)[1]


def test_unreadable_file(tmp_path, monkeypatch):
    path = written(tmp_path, small())

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    assert "cannot be read: Permission denied" in error_of(path)[1]


def zipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return (tmp_path / "m.zip").read_bytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (zipped, "is a zip archive, such as a PyTorch or Keras file; export it with torch.onnx.export"),
        (lambda _: pickle.dumps({"a": 1}, protocol=2), "is a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "run `git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"<html lang=en>", "is a web page"),
        (b"<?xml version='1.0'?>", "is text or XML"),
        (SMALL.encode(), "is text or XML"),
        (b"ir_version: 8\ngraph {\n}", "is ONNX as text; convert it with onnx.load"),
        (b'\xef\xbb\xbf{"irVersion": "8"}', "is JSON"),
        (b"\x1f\x8b\x08\x00", "is a gzip archive"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 (Keras) file"),
        (b"GGUF\x03\x00", "is a GGUF file"),
        (b"\x1c\x00\x00\x00TFL3\x14\x00", "is a TensorFlow Lite model"),
        (b"\x1c\x00\x00\x00ORTM\x14\x00", "is an onnxruntime .ort file"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"w":{}}', "is a safetensors file"),
        (b"\xff" * 50, "is not an ONNX model, or is damaged or cut short"),
        (lambda _: small().SerializeToString()[:-5], "is not an ONNX model, or is damaged or cut short"),
        (lambda _: onnx.ModelProto(ir_version=8).SerializeToString(), "holds no graph"),
    ],
)
def test_other_files(tmp_path, data, expected):
    kind, message = error_of(written(tmp_path, data(tmp_path) if callable(data) else data))
    assert kind is UnreadableError
    assert expected in message


def test_opset_too_old(tmp_path):
    proto = parse("(float[2] x) => (float[2] y) { y = Relu(x) }", 'ir_version: 3, opset_import: ["" : 6]')
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnsupportedError
    assert "is of opset 6, older than 7; convert it first with onnx.version_converter" in message


def test_before_opsets_existed(tmp_path):
    proto = small()
    del proto.opset_import[:]
    proto.ir_version = 2
    assert "is of opset 1, older than 7" in error_of(written(tmp_path, proto))[1]


def test_opset_missing(tmp_path):
    proto = small()
    del proto.opset_import[:]
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnreadableError
    assert "opset_import is missing" in message


def test_only_custom_operators_need_no_default_opset(tmp_path):
    proto = parse("(float[2] x) => (float[2] y) { y = mine.Twice(x) }", 'ir_version: 8, opset_import: ["mine" : 3]')
    assert load(written(tmp_path, proto)).opset_imports == {"mine": 3}


def test_the_long_name_of_the_default_domain(tmp_path):
    proto = small()
    proto.opset_import[0].domain = "ai.onnx"
    assert load(written(tmp_path, proto)).opset_imports == {"": 17}


def test_sparse_initializer(tmp_path):
    proto = small()
    values = helper.make_tensor("thin", TensorProto.FLOAT, [1], [1.0])
    index = helper.make_tensor("index", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, [4]))
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnsupportedError
    assert "has the sparse weight 'thin' (sparse_initializer); store it dense" in message


def test_sparse_constant(tmp_path):
    proto = small()
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    index = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, index, [4])
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], name="thin", sparse_value=sparse))
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnsupportedError
    assert "Constant 'thin' has a sparse attribute 'sparse_value'" in message


def test_training_model(tmp_path):
    proto = small()
    proto.training_info.add()
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnsupportedError
    assert "is a training model (training_info)" in message


def test_map_types_are_not_supported(tmp_path):
    proto = small()
    proto.graph.output[0].type.map_type.key_type = TensorProto.INT64
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnsupportedError
    assert "Map types are not supported" in message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(float[2] x) => (float[2] y) { y = Add(x, gone) }", "uses the value 'gone' (input of Add '')"),
        ("(float[2] x) => (float[2] y) { z = Relu(x) }", "uses the value 'y' (output), which nothing defines"),
        (
            "(float[2] x) => (float[2] y) { y = Relu(x) y = Abs(x) }",
            "defines the value 'y' twice (again as output of Abs",
        ),
        ("(float[2] x, float[2] x) => (float[2] y) { y = Relu(x) }", "defines the value 'x' twice (again as input)"),
        ("(float[2] x) => (float[2] x) { x = Relu(x) }", "defines the value 'x' twice (again as output of Relu"),
        (
            "(float[1] x) => (float[1] y) <float[1] w = {1}, float[1] w = {2}> { y = Add(x, w) }",
            "'w' twice (again as initializer)",
        ),
        (
            "(float[2] x) => (float[2] y) { a = Add(x, c) b = Relu(a) c = Abs(b) y = Relu(c) }",
            "the graph has a cycle: '",
        ),
        (
            "(bool c) => (float[2] y) { y = If (c) <then_branch = t () => (float[2] o) { o = Relu(gone) }, "
            "else_branch = e () => (float[2] o) { o = Relu(gone) }> }",
            "graph 't' uses the value 'gone'",
        ),
        (
            "(bool c, float[2] x) => (float[2] y) { y = If (c) <then_branch = t () => (float[2] x) { }, "
            "else_branch = e () => (float[2] o) { o = Relu(x) }> }",
            "graph 't' uses the value 'x' (output)",
        ),
        (
            "(bool c) => (float[2] y) { y = If (c) <then_branch = t () => (float[2] o) { o = Relu(y) }, "
            "else_branch = e () => (float[2] p) { p = Relu(y) }> }",
            "the graph has a cycle",
        ),
    ],
)
def test_malformed_graphs(tmp_path, body, expected):
    kind, message = error_of(written(tmp_path, parse(body)))
    assert kind is UnreadableError
    assert expected in message


def test_the_named_value_is_on_the_cycle(tmp_path):
    body = "(float[2] x) => (float[2] y) { y = Relu(z) z = Neg(c) a = Add(x, c) b = Relu(a) c = Abs(b) }"
    message = error_of(written(tmp_path, parse(body)))[1]
    assert message.split("'")[1] in {"a", "b", "c"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda g: g.input[0].__setattr__("name", ""), "has an input without a name"),
        (lambda g: g.output[0].__setattr__("name", ""), "has an output without a name"),
        (lambda g: g.initializer[0].__setattr__("name", ""), "has an initializer without a name"),
        (lambda g: g.node[0].__setattr__("op_type", ""), "without an operator type"),
        (lambda g: g.node[1].ClearField("output"), "Relu '' has no output"),
        (
            lambda g: g.node[1].attribute.append(onnx.AttributeProto(name="a", type="TENSOR")),
            "Relu '' has an attribute 'a' without value",
        ),
        (lambda g: g.initializer[0].dims.__setitem__(0, -2), "weight 'w' has a negative size [-2, 3]"),
        (lambda g: g.initializer[0].dims.__setitem__(0, 3), "weight 'w' [3, 3] has missing or surplus data"),
        (lambda g: g.initializer[0].ClearField("float_data"), "weight 'w' [2, 3] has missing or surplus data"),
        (lambda g: g.initializer[0].__setattr__("data_type", 0), "weight 'w' is of the unknown type 0"),
        (lambda g: g.initializer[0].__setattr__("data_type", 99), "weight 'w' is of the unknown type 99"),
    ],
)
def test_malformed_parts(tmp_path, change, expected):
    proto = small()
    change(proto.graph)
    kind, message = error_of(written(tmp_path, proto))
    assert kind is UnreadableError
    assert expected in message


def test_functions_are_checked(tmp_path):
    proto = small()
    nodes = [helper.make_node("Relu", ["gone"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "F", ["a"], ["b"], nodes, opsets))
    assert "function 'F' uses the value 'gone'" in error_of(written(tmp_path, proto))[1]


def test_nodes_out_of_order_are_sorted(tmp_path):
    body = "(float[2] x) => (float[2] y) { y = Relu(b) b = Abs(a) a = Neg(x) }"
    model = load(written(tmp_path, parse(body)))
    assert [node.op_type for node in model.graph] == ["Neg", "Abs", "Relu"]
    assert len(view_from_model(model).ops) == 3


@pytest.mark.parametrize("header", ['ir_version: 3, opset_import: ["" : 9]', 'ir_version: 8, opset_import: ["" : 17]'])
def test_weights_may_be_inputs_too(tmp_path, header):
    body = "(float[1] x, float[1] w) => (float[1] y) <float[1] w = {2}> { y = Mul(x, w) }"
    model = load(written(tmp_path, parse(body, header)))
    assert [value.name for value in model.graph.inputs] == ["x", "w"]


def test_operators_nobody_knows_are_fine(tmp_path):
    header = 'ir_version: 8, opset_import: ["" : 17, "mine" : 1]'
    body = "(float[2] x) => (float[2] y) { t = mine.Unheard <how = 3> (x) y = Relu(t) }"
    assert len(view_from_model(load(written(tmp_path, parse(body, header)))).ops) == 2


TYPES = [
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.INT8,
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.UINT64,
    TensorProto.UINT32,
    TensorProto.COMPLEX64,
    TensorProto.INT4,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.STRING,
]


@pytest.mark.parametrize(("data_type", "raw"), [(t, r) for t in TYPES for r in (False, True) if not (r and t == 8)])
def test_every_type_of_weight(tmp_path, data_type, raw):
    values = [b"a", b"b", b"c"] if data_type == TensorProto.STRING else [1, 0, 1]
    tensor = helper.make_tensor("t", data_type, [3], values)
    if raw:
        tensor = ir.to_proto(ir.tensor(ir.from_proto(tensor).numpy(), dtype=ir.DataType(data_type), name="t"))
        assert tensor.HasField("raw_data")
    proto = small()
    proto.graph.initializer.append(tensor)
    assert view_from_model(load(written(tmp_path, proto))).tensors["t"].shape == (3,)


def test_names_that_are_not_text(tmp_path):
    data = small().SerializeToString().replace(b"Relu", b"R\xfflu")
    kind, message = error_of(written(tmp_path, data))
    assert kind is UnreadableError
    assert "holds text in 'op_type' that is not UTF-8; the file is damaged" in message


def test_messages_stay_on_one_line(tmp_path):
    proto = parse("(float[2] x) => (float[2] y) { y = Add(x, gone) }")
    proto.graph.node[0].input[1] = "two\nlines"
    assert "the value 'two?lines'" in error_of(written(tmp_path, proto))[1]


# External data


def external(tmp_path, location="w.bin", size=24, **entry):
    proto = small()
    weight = proto.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(np.arange(6, dtype=np.float32).tobytes()[:size])
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location} | entry).items():
        weight.external_data.add(key=key, value=str(value))
    return written(tmp_path, proto)


def test_external_data_are_found_wherever_we_are(tmp_path, monkeypatch):
    path = external(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = load(path.name)
    monkeypatch.chdir("/")
    assert model.graph.initializers["w"].const_value.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_external_data_in_a_sub_folder(tmp_path):
    (tmp_path / "data").mkdir()
    path = external(tmp_path, location="data/w.bin")
    (tmp_path / "w.bin").rename(tmp_path / "data" / "w.bin")
    assert load(path).graph.initializers["w"].const_value.numpy()[1, 2] == 5


@pytest.mark.parametrize("location", ["/etc/hostname", "../w.bin", "a/../../w.bin", "C:\\w.bin"])
def test_external_data_outside_the_folder(tmp_path, location):
    assert f"is in '{location}', outside the model's folder; refused" in error_of(external(tmp_path, location))[1]


def test_external_data_behind_a_link(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = external(inner)
    (inner / "w.bin").rename(tmp_path / "w.bin")
    (inner / "w.bin").symlink_to(tmp_path / "w.bin")
    assert "'w.bin' is a link out of the model's folder" in error_of(path)[1]


def test_external_data_by_hard_link(tmp_path):
    path = external(tmp_path)
    os.link(tmp_path / "w.bin", tmp_path / "again.bin")
    assert "'w.bin' is a hard link" in error_of(path)[1]


def test_external_data_missing(tmp_path):
    path = external(tmp_path)
    (tmp_path / "w.bin").unlink()
    assert "the file 'w.bin' with the weight 'w' is missing; put it beside the model" in error_of(path)[1]


@pytest.mark.parametrize(("size", "entry"), [(20, {}), (24, {"offset": 4}), (20, {"length": 24})])
def test_external_data_cut_short(tmp_path, size, entry):
    assert "ends before the weight 'w' does" in error_of(external(tmp_path, size=size, **entry))[1]


def test_external_data_of_another_length(tmp_path):
    assert "weight 'w' needs 24 bytes, its reference says 20" in error_of(external(tmp_path, length=20))[1]


@pytest.mark.parametrize("entry", [{"offset": "x"}, {"offset": -4}, {"length": -1}, {"location": ""}])
def test_external_reference_damaged(tmp_path, entry):
    assert "weight 'w' has a damaged reference to external data" in error_of(external(tmp_path, **entry))[1]


def test_external_data_in_functions_and_constants(tmp_path):
    tensor = numpy_helper.from_array(np.arange(6, dtype=np.float32), "c")
    (tmp_path / "c.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="c.bin")
    proto = small()
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Add", ["a", "c"], ["b"])]
    proto.functions.append(helper.make_function("mine", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)]))
    model = load(written(tmp_path, proto))
    node = next(iter(model.functions.values()))[0]
    assert node.attributes["value"].as_tensor().numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_model_without_a_file_cannot_have_external_data(tmp_path):
    proto = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(UnsupportedError, match=r"is in the file 'w\.bin'; give the path of the model"):
        model_from_proto(proto)


# Damage

GOOD = small().SerializeToString()


def survives(tmp_path, data):
    """Loading either works, and so does what follows, or fails in the one way it may."""
    try:
        model = load(written(tmp_path, data))
    except NepentheError as error:
        message = str(error)
    else:
        message = ""
        view_from_model(model)
    assert "\n" not in message


fuzz = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(end=st.integers(0, len(GOOD) - 1))
def test_truncated_files(tmp_path, end):
    survives(tmp_path, GOOD[:end])


@fuzz
@given(flips=st.lists(st.integers(0, len(GOOD) * 8 - 1), min_size=1, max_size=4))
def test_flipped_bits(tmp_path, flips):
    data = bytearray(GOOD)
    for bit in flips:
        data[bit // 8] ^= 1 << bit % 8
    survives(tmp_path, bytes(data))


@fuzz
@given(data=st.binary(max_size=64))
def test_random_bytes(tmp_path, data):
    survives(tmp_path, data)


def test_what_never_ends_is_not_read(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes")
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    assert error_of(pipe)[1] == f"{pipe}: is a device or a pipe; give a file"


def test_a_file_above_what_protobuf_can_hold_is_not_read(tmp_path):
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    assert "is larger than 2 GiB, where protobuf ends" in error_of(path)[1]


def test_names_of_any_length_make_no_long_message(tmp_path):
    model = small()
    model.graph.node[0].input[0] = "n" * 50_000
    message = error_of(written(tmp_path, model))[1]
    assert len(message) < 1100
    assert message.endswith("which nothing defines")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: setattr(m.graph.node[0], "name", "n" * 70_000), "holds 70,000 characters in one 'name'"),
        (lambda m: m.graph.node[0].input.append("n" * 70_000), "holds 70,000 characters in one 'input'"),
        (lambda m: setattr(m, "doc_string", "d" * 70_000), None),
        (lambda m: m.metadata_props.add(key="k", value="v" * 70_000), None),
    ],
)
def test_text_has_an_end(tmp_path, monkeypatch, change, expected):
    model = small()
    change(model)
    path = written(tmp_path, model)
    if expected is None:
        load(path)
        monkeypatch.setattr(structure, "LONGEST_TEXT", 1000)
        expected = "more than 1,000"
    assert expected in error_of(path)[1]


def test_a_shape_without_a_type(tmp_path):
    model = small()
    model.graph.output[0].type.tensor_type.ClearField("elem_type")
    kind, message = error_of(written(tmp_path, model))
    assert kind is UnsupportedError
    assert "states a shape but no type of its output" in message


@pytest.mark.parametrize("location", ["x" * 5000, "a\0b"])
def test_names_no_file_can_have(tmp_path, location):
    assert "with the weight 'w' is missing; put it beside the model" in error_of(external(tmp_path, location))[1]
