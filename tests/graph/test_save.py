import errno
import os

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from google.protobuf.message import EncodeError
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError, UsageError, VerificationError
from onnx_nepenthe.graph import external
from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.save import copy, save

SMALL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,20] x, bool c) => (float[N,30] y) {
  h = MatMul(x, w)
  y = If (c) <
    then_branch = t () => (float[N,30] a) { b = Add(h, bias) a = Add(b, inner) },
    else_branch = e () => (float[N,30] d) { d = Relu(h) }
  >
}
"""


def arrays():
    rng = np.random.default_rng(3)
    return {
        "w": rng.normal(size=(20, 30)).astype(np.float32),
        "bias": rng.normal(size=30).astype(np.float32),
        "inner": rng.normal(size=30).astype(np.float32),
    }


def proto():
    model = onnx.parser.parse_model(SMALL)
    then = model.graph.node[1].attribute[0].g
    for name, array in arrays().items():
        (then if name == "inner" else model.graph).initializer.append(numpy_helper.from_array(array, name))
    return model


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.onnx"
    path.write_bytes(proto().SerializeToString())
    return path


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "m.onnx"


def outputs(path, feeds=None):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    return [session.run(None, feeds or {"x": x, "c": np.array(c)})[0] for c in (False, True)]


def assert_same_model(a, b):
    assert compare(interface_of(load(a)), interface_of(load(b))) == []
    for one, other in zip(outputs(a), outputs(b), strict=True):
        np.testing.assert_array_equal(one, other)


def names(folder):
    return sorted(os.listdir(folder))


def test_saved_and_read_again(source, out):
    save(load(source), out, source=source)
    assert_same_model(source, out)
    assert names(out.parent) == ["m.onnx"]


def test_saving_keeps_the_bytes_of_what_was_saved(source, out, tmp_path):
    model = load(source)
    save(model, out)
    save(load(out), tmp_path / "again.onnx")
    assert out.read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_an_existing_file_is_replaced(source, out):
    out.write_bytes(b"old")
    save(load(source), out)
    assert_same_model(source, out)


def test_the_file_has_the_usual_permissions(source, out):
    save(load(source), out)
    other = out.parent / "other"
    other.write_bytes(b"")
    assert out.stat().st_mode == other.stat().st_mode


def test_relative_names(source, out, monkeypatch):
    monkeypatch.chdir(out.parent)
    save(load(source), "m.onnx", external_above_bytes=100)
    copy("m.onnx", "n.onnx")
    assert_same_model(source, out)
    assert_same_model(source, out.parent / "n.onnx")


# External data


def test_large_weights_get_their_own_file(source, out):
    model = load(source)
    before = ir.to_proto(model).SerializeToString()
    save(model, out, source=source, external_above_bytes=100)
    assert names(out.parent) == ["m.onnx", "m.onnx.data"]
    assert_same_model(source, out)
    assert ir.to_proto(model).SerializeToString() == before
    stored = onnx.load(out, load_external_data=False).graph.initializer
    assert {t.name: t.data_location for t in stored} == {"bias": TensorProto.DEFAULT, "w": TensorProto.EXTERNAL}
    onnx.checker.check_model(str(out))


def test_weights_of_subgraphs_move_too(source, out, monkeypatch):
    monkeypatch.setattr(external, "SMALLEST_MOVED_BYTES", 0)
    save(load(source), out, external_above_bytes=100)
    assert_same_model(source, out)
    then = onnx.load(out, load_external_data=False).graph.node[1].attribute[0].g
    assert then.initializer[0].data_location == TensorProto.EXTERNAL
    offsets = [external.external_entry(t)[1] for t in external.tensors_of(onnx.load(out, load_external_data=False))]
    assert [offset % 4096 for offset in offsets] == [0, 0, 0]


def test_external_weights_stay_external(source, out, tmp_path):
    save(load(source), out, external_above_bytes=100)
    again = tmp_path / "again.onnx"
    save(load(out), again, source=out)
    assert names(tmp_path) == ["again.onnx", "again.onnx.data", "in.onnx", "out"]
    out.unlink()
    (out.parent / "m.onnx.data").unlink()
    assert_same_model(source, again)


def test_external_constants_move_into_the_model(out, tmp_path):
    tensor = numpy_helper.from_array(np.arange(6, dtype=np.float32), "c")
    (tmp_path / "c.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="c.bin")
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Add", ["x", "c"], ["y"])]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [6]) for name in "xy"]
    weight = numpy_helper.from_array(np.zeros(400, np.float32), "w")
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "in.onnx"
    path.write_bytes(model.SerializeToString())
    save(load(path), out, external_above_bytes=100)
    (tmp_path / "c.bin").unlink()
    node = load(out).graph[0]
    assert node.attributes["value"].as_tensor().numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_strings_stay_in_the_model(out, tmp_path):
    model = proto()
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [300], [b"word"] * 300))
    path = tmp_path / "in.onnx"
    path.write_bytes(model.SerializeToString())
    save(load(path), out, external_above_bytes=100)
    assert load(out).graph.initializers["s"].const_value.numpy()[7] == b"word"


def test_above_what_protobuf_can_hold(source, out, monkeypatch):
    def refuse(self):
        raise EncodeError("Failed to serialize proto")

    model = load(source)

    class Huge:
        functions = ()

        SerializeToString = refuse

    monkeypatch.setattr("onnx_nepenthe.graph.save.ir.to_proto", lambda _: Huge())
    with pytest.raises(UnsupportedError, match="above 2 GiB even with its weights in another file"):
        save(model, out)
    assert names(out.parent) == []


# What is refused


def test_the_input_is_never_overwritten(source):
    before = source.read_bytes()
    model = load(source)
    for path in (source, source.parent / "out" / ".." / "in.onnx"):
        source.parent.joinpath("out").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="is the input, which is never overwritten; give another name with -o"):
            save(model, path, source=source)
        with pytest.raises(UsageError, match="is the input"):
            copy(source, path)
    assert source.read_bytes() == before


def test_the_input_is_recognised_behind_a_link(source, tmp_path):
    link = tmp_path / "link.onnx"
    link.symlink_to(source)
    with pytest.raises(UsageError, match="is the input"):
        save(load(source), link, source=source)


def test_data_of_the_input_are_never_overwritten(source, out):
    save(load(source), out, external_above_bytes=100)
    data = out.parent / "m.onnx.data"
    before = data.read_bytes()
    model = load(out)
    with pytest.raises(UsageError, match="holds weights of the input"):
        save(model, data)
    with pytest.raises(UsageError, match=r"'m\.onnx\.data' holds weights of the input"):
        save(model, out)
    assert data.read_bytes() == before


def test_folders_are_not_files(source, tmp_path):
    with pytest.raises(UsageError, match="is a folder; give a file name"):
        save(load(source), tmp_path)
    with pytest.raises(UsageError, match=r"there is no folder '.*nowhere'"):
        save(load(source), tmp_path / "nowhere" / "m.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_what_is_no_file_is_not_replaced_by_one(source, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for write in (lambda out: save(load(source), out), lambda out: copy(source, out)):
        with pytest.raises(UsageError, match="is a device or a pipe"):
            write(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_result_that_does_not_load_is_not_written(source, out):
    model = load(source)
    model.graph.outputs[0].name = "h"
    with pytest.raises(VerificationError, match="does not read back, nothing was written") as caught:
        save(model, out)
    assert "defines the value 'h' twice" in str(caught.value)
    assert names(out.parent) == []


def test_a_result_that_reads_back_differently_is_not_written(source, out, monkeypatch):
    model = load(source)

    def renamed(path):
        other = load(path)
        other.graph.name = "other"
        return other

    monkeypatch.setattr("onnx_nepenthe.graph.save.load", renamed)
    with pytest.raises(VerificationError, match="does not read back as it was, nothing was written: identity changed"):
        save(model, out)
    assert names(out.parent) == []


def test_a_result_the_checker_refuses_is_not_written(source, out):
    model = load(source)
    node = model.graph[0]
    node.attributes["unheard"] = ir.AttrInt64("unheard", 1)
    with pytest.raises(VerificationError, match=r"the input passes onnx.checker, the result does not.*unheard"):
        save(model, out, source=source)
    assert names(out.parent) == []


def test_the_checker_is_not_asked_when_the_input_fails_it_too(source, out, tmp_path):
    model = load(source)
    model.graph[0].attributes["unheard"] = ir.AttrInt64("unheard", 1)
    first = tmp_path / "first.onnx"
    save(model, first)
    save(load(first), out, source=first)
    assert names(out.parent) == ["m.onnx"]


# Atomicity


class Fault:
    """Let one call of os.replace or file.write fail."""

    def __init__(self, monkeypatch, error, at=1):
        self.calls, self.error, self.at = 0, error, at
        self.real = os.replace
        monkeypatch.setattr(os, "replace", self)

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.real(*args)


RENAMES = [(10**9, False, 1), (10**9, True, 1)]
RENAMES += [(100, False, at) for at in (1, 2)] + [(100, True, at) for at in (1, 2, 3, 4)]


@pytest.mark.parametrize("case", RENAMES)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_rename_leaves_everything_as_it_was(source, out, monkeypatch, case, error):
    above, existing, at = case
    model = load(source)
    if existing:
        save(model, out, external_above_bytes=above)
    before = {name: (out.parent / name).read_bytes() for name in names(out.parent)}
    fault = Fault(monkeypatch, error, at)
    model.graph.doc_string = "another"
    expected = NepentheError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        save(model, out, external_above_bytes=above)
    assert fault.calls == at
    if expected is NepentheError:
        assert str(caught.value) == f"{out}: cannot be written: No space left on device; nothing was changed"
    assert {name: (out.parent / name).read_bytes() for name in names(out.parent)} == before


@pytest.mark.parametrize("above", [100, 10**9])
def test_a_full_disk(source, out, monkeypatch, above):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    model = load(source)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NepentheError, match="cannot be written: No space left on device; nothing was changed"):
        save(model, out, external_above_bytes=above)
    with pytest.raises(NepentheError, match="cannot be written: No space left on device"):
        copy(source, out)
    assert names(out.parent) == []


def test_a_read_only_folder(source, out, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(NepentheError, match="cannot be written: Permission denied"):
        save(load(source), out)


def test_interrupted_while_writing(source, out, monkeypatch):
    def interrupt(handle):
        raise KeyboardInterrupt

    model = load(source)
    before = source.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(model, out, source=source)
    assert names(out.parent) == []
    assert source.read_bytes() == before


# Copies


def test_a_copy_has_the_same_bytes(source, out):
    copy(source, out)
    assert out.read_bytes() == source.read_bytes()
    assert names(out.parent) == ["m.onnx"]


def test_a_copy_takes_its_data_along(source, out, tmp_path):
    first = tmp_path / "first.onnx"
    save(load(source), first, external_above_bytes=100)
    copy(first, out)
    assert names(out.parent) == ["m.onnx", "m.onnx.data"]
    (tmp_path / "first.onnx.data").unlink()
    assert_same_model(source, out)


def test_a_copy_in_the_same_folder_leaves_the_data_alone(source, tmp_path):
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    save(load(source), first, external_above_bytes=100)
    before = (tmp_path / "first.onnx.data").read_bytes()
    copy(first, second)
    assert (tmp_path / "first.onnx.data").read_bytes() == before
    assert_same_model(first, second)


def test_a_copy_joins_several_data_files(out, tmp_path):
    model = proto()
    for tensor in model.graph.initializer:
        (tmp_path / f"{tensor.name}.bin").write_bytes(b"pad!" + tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{tensor.name}.bin")
        tensor.external_data.add(key="offset", value="4")
    path = tmp_path / "in.onnx"
    path.write_bytes(model.SerializeToString())
    copy(path, out)
    assert names(out.parent) == ["m.onnx", "m.onnx.data"]
    assert_same_model(path, out)


def test_what_cannot_be_loaded_is_not_copied(tmp_path, out):
    path = tmp_path / "in.onnx"
    path.write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"in\.onnx: is empty"):
        copy(path, out)
