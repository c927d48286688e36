"""The Python interface: four kinds of model in, the same kind out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnx_nepenthe
from onnx_nepenthe.errors import NepentheError, UnreadableError, UsageError
from onnx_nepenthe.options import Options
from onnx_nepenthe.run import Arguments, options_from, options_record, resolved
from onnx_nepenthe.session import SessionConfig
from tests.helpers.outcomes import mixed_model, positive_model, save_case

DATA = {"x": np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32)}
NOT_YET: set[str] = set()


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def test_a_proto_gives_a_proto_and_is_not_changed() -> None:
    model = positive_model()
    before = model.SerializeToString()
    result = onnx_nepenthe.collapse(model, data=DATA, latency="off")
    assert isinstance(result, onnx.ModelProto)
    assert (operators(result), model.SerializeToString()) == (["Gemm"], before)


def test_an_ir_model_gives_an_ir_model() -> None:
    result = onnx_nepenthe.collapse(ir.from_proto(positive_model()), data=DATA, latency="off")
    assert isinstance(result, ir.Model)
    assert [node.op_type for node in result.graph] == ["Gemm"]


def test_a_graphsurgeon_graph_gives_one() -> None:
    surgeon = pytest.importorskip("onnx_graphsurgeon")
    result = onnx_nepenthe.collapse(surgeon.import_onnx(positive_model()), data=DATA, latency="off")
    assert isinstance(result, surgeon.Graph)
    assert [node.op for node in result.nodes] == ["Gemm"]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_gives_the_path_written(tmp_path: Path, kind: type) -> None:
    path, data = save_case(tmp_path)
    result = onnx_nepenthe.collapse(kind(path), tmp_path / "out.onnx", data=str(data), latency="off")
    assert result == tmp_path / "out.onnx"
    assert operators(onnx.load(result)) == ["Gemm"]


def test_nothing_collapsed_gives_back_the_very_object() -> None:
    for model in (mixed_model(), ir.from_proto(mixed_model())):
        result, outcome = onnx_nepenthe.collapse_with_report(model, data=DATA, latency="off")
        assert result is model
        assert not outcome.is_collapsed
        assert outcome.message.startswith(
            "nothing could be collapsed (channels change regime); the result is the model"
        )


def test_nothing_collapsed_copies_the_file(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path, mixed_model())
    result, outcome = onnx_nepenthe.collapse_with_report(path, tmp_path / "out.onnx", latency="off")
    assert result.read_bytes() == path.read_bytes()
    assert f"{result} is a copy of {path}" in outcome.message


def test_the_outcome_holds_the_options_and_the_closing_line() -> None:
    _, outcome = onnx_nepenthe.collapse_with_report(positive_model(), data=DATA, latency="off", seed=7)
    assert (outcome.options["seed"], outcome.options["latency"], outcome.options["data"]) == (7, "off", "builtins.dict")
    assert outcome.message.startswith("collapsed: rectifiers 1 → 0")
    assert outcome.verdict is not None
    assert outcome.verdict.passed


def test_inspect_changes_nothing_and_names_the_model(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path)
    found = onnx_nepenthe.inspect(path, data=DATA)
    assert (found.name, found.samples, len(found.rows)) == (str(path), 40, 1)
    assert onnx_nepenthe.inspect(positive_model()).name == "graph"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "model.onnx"]


def test_a_path_needs_an_output_and_nothing_else_takes_one(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path)
    with pytest.raises(UsageError, match="needs `output`"):
        onnx_nepenthe.collapse(str(path))  # type: ignore[type-var]
    with pytest.raises(UsageError, match="the result of a ModelProto is returned"):
        onnx_nepenthe.collapse_with_report(positive_model(), tmp_path / "out.onnx")


def test_a_bad_output_is_refused_before_any_work(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path)
    with pytest.raises(UsageError, match="is the input, which is never overwritten"):
        onnx_nepenthe.collapse(path, path, data="nosuch.npz")
    with pytest.raises(UsageError, match="there is no folder"):
        onnx_nepenthe.collapse(path, tmp_path / "no" / "out.onnx", data="nosuch.npz")


def test_mistakes_are_errors_of_ours() -> None:
    with pytest.raises(UsageError, match="cannot read a model from int"):
        onnx_nepenthe.collapse(3)
    with pytest.raises(UnreadableError, match=r"nosuch\.onnx"):
        onnx_nepenthe.inspect("nosuch.onnx")
    with pytest.raises(UsageError, match="did you mean Relu"):
        onnx_nepenthe.inspect(positive_model(), skip=["ReLU_"])
    with pytest.raises(TypeError, match="latncy"):
        onnx_nepenthe.inspect(positive_model(), latncy="off")
    assert issubclass(UsageError, NepentheError)


def test_the_keyword_arguments_are_the_options() -> None:
    names = {field.name for field in fields(Options)} - {"data"}
    assert set(Arguments.__annotations__) - {"provider", "threads", "custom_ops"} == names - NOT_YET


def test_handier_forms_become_options() -> None:
    handy: Arguments = {"provider": "cuda", "threads": 3, "cache": "c", "input_ranges": (0, 1), "skip": ["Relu"]}
    options = options_from("d", handy)
    assert options.input_ranges == {"*": (0, 1)}
    assert options.config == SessionConfig("cuda", 3)
    assert (options.cache, options.skip, options.data) == (Path("c"), frozenset({"Relu"}), "d")
    assert options_from().config == SessionConfig()
    config = options_from(None, {"config": SessionConfig("cuda"), "threads": 2}).config
    assert config == SessionConfig("cuda", 2)


def test_one_range_serves_every_float_input() -> None:
    model = ir.from_proto(positive_model())
    assert resolved(options_from(None, {"input_ranges": (0, 1)}), model).input_ranges == {"x": (0, 1)}
    both = options_from(None, {"input_ranges": {"*": (0, 1), "x": (2, 3)}})
    assert resolved(both, model).input_ranges == {"x": (2, 3)}
    with pytest.raises(UsageError, match="did you mean 'x'"):
        resolved(options_from(None, {"input_ranges": {"xx": (0, 1)}}), model)
    with pytest.raises(UsageError, match="is empty"):
        resolved(options_from(None, {"input_ranges": (1, 0)}), model)


def test_the_record_of_the_options_is_plain() -> None:
    record = options_record(options_from(Path("d.npz"), {"skip": ["Relu"], "input_ranges": (0, 1)}))
    assert (record["data"], record["skip"], record["input_ranges"]) == ("d.npz", ["Relu"], {"*": [0, 1]})
    assert record["source"]["resize"] == "crop"
