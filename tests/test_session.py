"""Sessions: what they show of a model, what they run, and the one line each failure gives."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe import session
from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError, UsageError
from onnx_nepenthe.graph import serial
from onnx_nepenthe.session import SessionConfig, environment, open_session


def make(nodes: list[onnx.NodeProto], dtype: int = TensorProto.FLOAT, shape: Any = ("N", 3), **kwargs: Any) -> ir.Model:
    """A model from x to y, in the onnx_ir container."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", kwargs.get("out", dtype), shape)],
        kwargs.get("weights", []),
    )
    opsets = [helper.make_opsetid("", kwargs.get("opset", 13)), helper.make_opsetid("custom", 1)]
    return ir.from_proto(helper.make_model(graph, ir_version=8, opset_imports=opsets))


RELU = [helper.make_node("Relu", ["x"], ["y"])]
X = np.array([[-1, 0, 2]], np.float32)


@pytest.mark.parametrize("optimise", [True, False])
def test_runs_from_memory_and_from_a_path(tmp_path: Path, optimise: bool) -> None:
    model = make(RELU)
    ir.save(model, tmp_path / "m.onnx")
    config = SessionConfig(threads=1, optimise=optimise)
    for source in (model, tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        (y,) = open_session(source, config).run({"x": X})
        np.testing.assert_array_equal(y, [[0, 0, 2]])


def test_shows_names_types_and_symbols() -> None:
    opened = open_session(make(RELU))
    assert [(t.name, t.shape, t.dtype) for t in opened.inputs + opened.outputs] == [
        ("x", ("N", 3), "float"),
        ("y", ("N", 3), "float"),
    ]
    assert opened.provider == "cpu"


@pytest.mark.parametrize("shape", [(), None], ids=["scalar", "unknown rank"])
def test_tells_a_scalar_from_an_unknown_rank(tmp_path: Path, shape: Any) -> None:
    model = make(RELU, shape=shape)
    ir.save(model, tmp_path / "m.onnx")
    assert open_session(model).inputs[0].shape == shape
    assert open_session(tmp_path / "m.onnx").outputs[0].shape == shape


def test_gives_the_outputs_asked_for_in_that_order() -> None:
    model = make([*RELU, helper.make_node("Neg", ["x"], ["z"])])
    model.graph.outputs.append(model.graph[1].outputs[0])
    model.graph.outputs[1].type = model.graph.outputs[0].type
    z, y = open_session(model).run({"x": X}, ["z", "y"])
    np.testing.assert_array_equal(z, -X)
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_takes_bfloat16() -> None:
    cast = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    opened = open_session(make(cast, TensorProto.BFLOAT16, out=TensorProto.FLOAT))
    assert opened.inputs[0].dtype == "bfloat16"
    np.testing.assert_array_equal(opened.run({"x": X.astype(ml_dtypes.bfloat16)})[0], X)


@pytest.mark.parametrize("dtype", ["float", "double", "bfloat16", "string"])
def test_results_that_stay_where_they_were_made_are_the_same(dtype: str) -> None:
    nodes, number, given = {
        "float": (RELU, TensorProto.FLOAT, X),
        "double": (RELU, TensorProto.DOUBLE, X.astype(np.float64).T.copy().T),
        "bfloat16": (
            [helper.make_node("Cast", ["x"], ["y"], to=1)],
            TensorProto.BFLOAT16,
            X.astype(ml_dtypes.bfloat16),
        ),
        "string": ([helper.make_node("Cast", ["x"], ["y"], to=1)], TensorProto.STRING, X.astype(str).astype(object)),
    }[dtype]
    out = number if dtype in ("float", "double") else TensorProto.FLOAT
    opened = open_session(make(nodes, number, out=out))
    (held,) = opened.run_bound({"x": given}, ["y"])
    np.testing.assert_array_equal(held.read(), opened.run({"x": given})[0])


def test_feeds_that_do_not_fit_are_refused_in_one_line_when_bound_too() -> None:
    opened = open_session(make(RELU))
    for feeds in ({"z": X}, {"x": X[0]}, {"x": X.astype(np.int64)}):
        with pytest.raises(UnsupportedError, match=r"net cannot be run on this input: [^\n]+$"):
            opened.run_bound(feeds, ["y"])


def add_model(tmp_path: Path) -> ir.Model:
    """A model whose weight lies in a file of its own."""
    weight = onnx.numpy_helper.from_array(np.full((1, 3), 5, np.float32), "w")
    model = make([helper.make_node("Add", ["x", "w"], ["y"])], weights=[weight])
    ir.save(model, tmp_path / "m.onnx", external_data="w.bin", size_threshold_bytes=0)
    return ir.load(tmp_path / "m.onnx")


def test_finds_weights_that_lie_in_a_file(tmp_path: Path) -> None:
    loaded = add_model(tmp_path)
    np.testing.assert_array_equal(open_session(loaded).run({"x": X})[0], X + 5)
    np.testing.assert_array_equal(open_session(tmp_path / "m.onnx").run({"x": X})[0], X + 5)


def test_finds_a_constant_node_that_lies_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = onnx.numpy_helper.from_array(np.full((1, 3), 5, np.float32), "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("Add", ["x", "w"], ["y"])]
    proto = ir.to_proto(make(nodes))
    onnx.external_data_helper.set_external_data(proto.graph.node[0].attribute[0].t, "w.bin")
    onnx.save(proto, tmp_path / "m.onnx")
    loaded = ir.load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(open_session(loaded).run({"x": X})[0], X + 5)
    monkeypatch.setattr(serial, "LARGEST_MESSAGE_BYTES", -1)
    np.testing.assert_array_equal(open_session(loaded).run({"x": X})[0], X + 5)


def test_a_model_too_large_for_one_message_goes_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = add_model(tmp_path)
    monkeypatch.setattr(serial, "LARGEST_MESSAGE_BYTES", 4)
    np.testing.assert_array_equal(open_session(model).run({"x": X})[0], X + 5)
    with pytest.raises(ValueError, match="12 bytes of weights do not fit"):
        serial.to_bytes(model)


def test_digest_does_not_depend_on_where_the_weights_lie(tmp_path: Path) -> None:
    loaded = add_model(tmp_path)
    inside = loaded.clone()
    ir.external_data.load_to_model(inside)
    assert serial.digest(loaded) == serial.digest(inside)
    inside.graph.initializers["w"].const_value = ir.tensor(np.full((1, 3), 6, np.float32), name="w")
    assert serial.digest(loaded) != serial.digest(inside)


@pytest.mark.parametrize(
    ("nodes", "kwargs", "cause"),
    [
        ([helper.make_node("Swirl", ["x"], ["y"], domain="custom")], {}, "custom:Swirl"),
        ([helper.make_node("Relu", ["x"], ["y"])], {"dtype": TensorProto.INT16, "opset": 14}, "NOT_IMPLEMENTED"),
        ([helper.make_node("Relu", ["x"], ["y"])], {"opset": 999}, "999"),
    ],
)
def test_a_model_that_cannot_run_is_refused_in_one_line(nodes: Any, kwargs: Any, cause: str) -> None:
    with pytest.raises(UnsupportedError, match="cannot run net") as caught:
        open_session(make(nodes, **kwargs))
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


def test_feeds_that_do_not_fit_are_refused_in_one_line() -> None:
    opened = open_session(make(RELU))
    for feeds in ({}, {"x": X.astype(np.int64)}, {"x": X[0]}):
        with pytest.raises(UnsupportedError, match="net cannot be run on this input") as caught:
            opened.run(feeds)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_model_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    for path in (tmp_path / "m.onnx", tmp_path / "none.onnx"):
        with pytest.raises(UnreadableError, match=r"\.onnx"):
            open_session(path)


def test_an_unknown_provider_lists_those_installed() -> None:
    with pytest.raises(UsageError, match=r"provider abacus is unknown; installed: .*cpu"):
        open_session(make(RELU), SessionConfig(provider="abacus"))


class FakeRuntime(ModuleType):
    """onnxruntime as it is where GPUs are supported or not."""

    def __init__(self, available: list[str]) -> None:
        super().__init__("onnxruntime")
        self.real: Any = importlib.import_module("onnxruntime")
        self.available = available

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(self, model: Any, options: Any, **kwargs: Any) -> Any:  # noqa: N802
        """Falls back to the CPU in silence, as onnxruntime-gpu does without a GPU."""
        kwargs["providers"] = ["CPUExecutionProvider"]
        return self.real.InferenceSession(model, options, **kwargs)


def test_a_provider_that_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_runtime", lambda: FakeRuntime(["CPUExecutionProvider"]))
    with pytest.raises(UsageError, match="`pip install onnxruntime-gpu` brings it"):
        open_session(make(RELU), SessionConfig(provider="CUDA"))


def test_a_provider_that_does_not_start_is_not_replaced_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuntime(["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(session, "_runtime", lambda: fake)
    with pytest.raises(UsageError, match=r"cannot start on this machine.*--provider cpu"):
        open_session(make(RELU), SessionConfig(provider="cuda"))
    assert open_session(make(RELU)).provider == "cpu"


@pytest.mark.parametrize("broken", [ModuleNotFoundError(name="onnxruntime"), ModuleType("onnxruntime")])
def test_without_onnxruntime_both_extras_are_named(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        if isinstance(broken, Exception):
            raise broken
        return broken

    monkeypatch.setattr(importlib, "import_module", find)
    with pytest.raises(NepentheError, match=r"onnx-nepenthe\[cpu\].*onnx-nepenthe\[gpu\]"):
        open_session(make(RELU))


@pytest.mark.parametrize(
    "error", [ImportError("libgomp.so is missing"), ModuleNotFoundError("no flatbuffers", name="f")]
)
def test_a_broken_installation_says_its_cause(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        raise error

    monkeypatch.setattr(importlib, "import_module", find)
    with pytest.raises(NepentheError, match=f"onnxruntime cannot be loaded: {error}"):
        environment()


def test_environment_names_versions_and_machine() -> None:
    found = environment(SessionConfig(threads=2))
    assert found["onnx"] == onnx.__version__
    assert found["numpy"] == np.__version__
    assert (found["provider"], found["threads"]) == ("cpu", 2)
    assert all(str(value) for value in found.values())


class NoLibraries(FakeRuntime):
    """onnxruntime-gpu where TensorRT's libraries are missing."""

    def InferenceSession(self, model: Any, options: Any, **kwargs: Any) -> Any:  # noqa: N802
        raise RuntimeError("Please install TensorRT libraries as mentioned in the GPU requirements page")


def test_a_provider_without_its_libraries_is_not_blamed_on_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = NoLibraries(["TensorrtExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(session, "_runtime", lambda: fake)
    with pytest.raises(UsageError, match=r"^provider tensorrt is installed but cannot start [^\n]+cpu$"):
        open_session(make(RELU), SessionConfig(provider="tensorrt"))


def test_a_provider_is_checked_before_anything_runs_on_it() -> None:
    session.check_provider("cpu")
    with pytest.raises(UsageError, match="provider abacus is unknown"):
        session.check_provider("abacus")


class Bound:
    """A native session that notes where results are to lie."""

    def __init__(self) -> None:
        self.devices: dict[str, str] = {}

    def io_binding(self) -> Any:
        return self

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self.fed = name

    def bind_output(self, name: str, device: str) -> None:
        self.devices[name] = device

    def run_with_iobinding(self, binding: Any) -> None:
        assert binding.fed == "x"

    def get_outputs(self) -> list[Any]:
        return [importlib.import_module("onnxruntime").OrtValue.ortvalue_from_numpy(X) for _ in self.devices]


@pytest.mark.parametrize(("provider", "device"), [("cpu", "cpu"), ("cuda", "cuda"), ("tensorrt", "cuda")])
def test_results_are_bound_to_the_device_of_the_provider_until_they_are_read(provider: str, device: str) -> None:
    native = Bound()
    (held,) = session.Session(native, (), (), provider, "net").run_bound({"x": X}, ["y"])
    assert native.devices == {"y": device}
    np.testing.assert_array_equal(held.read(), X)
