"""Findings: what is read, proved, measured and decided before anything is planned."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe.errors import UnreadableError, UnsupportedError, UsageError
from onnx_nepenthe.evidence import Observed, Proved
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import prove, report, side_of, why_not_runnable
from onnx_nepenthe.linearise import NEEDS_DATA, Decision, Undecided
from onnx_nepenthe.measuring import PROVED_ONLY
from onnx_nepenthe.rectifiers import find_rectifiers
from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import findings, inspect, options


def builder() -> Builder:
    return Builder(np.random.default_rng(0))


def two_rectifiers() -> onnx.ModelProto:
    """The first needs data, the second is proved."""
    g = builder()
    second = g.node("Relu", g.node("Sigmoid", g.node("Relu", "x", out="first")), out="second")
    return g.model({"x": ["N", 3]}, [g.gemm(second, (3, 2))])


def data(count: int = 20) -> dict[str, Array]:
    return {"x": np.random.default_rng(1).uniform(0.5, 1, (count, 3)).astype(np.float32)}


def custom() -> onnx.ModelProto:
    g = builder()
    model = g.model({"x": ["N", 3]}, [g.node("Neg", g.node("Relu", g.node("Sigmoid", "x")))])
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def test_without_data_only_proofs_decide() -> None:
    found = findings(two_rectifiers())
    assert list(found.linearised.decisions) == ["second"]
    assert isinstance(found.linearised.decisions["second"].evidence, Proved)
    assert "--data" in found.linearised.undecided["first"].refusal.lift
    assert (found.source, found.measurement) == (None, None)


def test_data_decide_the_rest() -> None:
    found = findings(two_rectifiers(), data=data())
    assert list(found.linearised.decisions) == ["first", "second"]
    evidence = found.linearised.decisions["first"].evidence
    assert isinstance(evidence, Observed)
    assert evidence.n == 16, "four of five samples calibrate"
    assert isinstance(found.linearised.decisions["second"].evidence, Proved)


def test_the_limit_is_on_calibration_samples() -> None:
    found = findings(two_rectifiers(), data=data(), limit=5)
    assert found.measurement is not None
    assert found.measurement.samples == 5


def test_proved_only_measures_but_decides_nothing_on_it() -> None:
    found = findings(two_rectifiers(), data=data(), proved_only=True)
    assert list(found.linearised.decisions) == ["second"]
    assert found.measurement is not None
    assert inspect(two_rectifiers(), data=data(), proved_only=True).samples == 16
    assert found.linearised.undecided["first"].refusal == PROVED_ONLY
    assert findings(two_rectifiers(), proved_only=True).linearised.undecided["first"].refusal == NEEDS_DATA


@pytest.mark.parametrize("low", [0.0, -0.1])
def test_declared_ranges_prove(low: float) -> None:
    found = findings(two_rectifiers(), input_ranges={"x": (low, 1.0)})
    assert ("first" in found.linearised.decisions) == (low == 0.0)


def test_a_range_for_no_input_is_refused() -> None:
    with pytest.raises(UsageError, match="no such input"):
        findings(two_rectifiers(), input_ranges={"nothing": (0.0, 1.0)})


@pytest.mark.parametrize("skip", ["Relu"])
def test_skipped_rectifiers_are_not_looked_at(skip: str) -> None:
    found = findings(two_rectifiers(), skip=frozenset({skip}))
    assert found.rectifiers == ()
    assert inspect(two_rectifiers(), skip=frozenset({skip})).rows == ()


def test_patterns_are_skipped_by_their_rule() -> None:
    g = builder()
    model = g.model({"x": ["N", 3]}, [g.node("Mul", "x", g.node("Sigmoid", "x"))])
    (rectifier,) = findings(model).rectifiers
    assert findings(model, skip=frozenset({rectifier.rule})).rectifiers == ()


def test_layers_of_no_channels_are_decided_or_not_but_never_a_traceback() -> None:
    g = builder()
    model = g.model({"x": ["N", 0, 3, 3]}, [g.node("Tanh", g.node("Relu", g.node("Sigmoid", "x")))])
    assert len(findings(model).linearised.decisions) == 1


def test_channels_of_unknown_number_are_proved_as_one() -> None:
    g = builder()
    model = g.model({"x": ["N", "C", 3, 3]}, [g.node("Tanh", g.node("Relu", g.node("Sigmoid", "x")))])
    (decision,) = findings(model).linearised.decisions.values()
    assert decision.pieces.tolist() == [1]


def test_proofs_are_one_piece_per_channel() -> None:
    g = builder()
    shifted = g.node("Add", g.node("Sigmoid", "x"), g.constant(np.array([0, -2, -0.5], np.float32)))
    model = g.model({"x": ["N", 3]}, [g.node("Relu", shifted)])
    view = view_from_model(ir.from_proto(model))
    ((pieces, how),) = prove(view, find_rectifiers(view)[0], {}).values()
    assert pieces.tolist() == [1, 0, -1]
    assert how.startswith("z in ")


def test_the_record_names_everything() -> None:
    record = inspect(two_rectifiers(), data=data())
    assert record.name == "net"
    assert [row.rectifier.key for row in record.rows] == ["first", "second"]
    assert all(isinstance(row.found, Decision) and not row.removed for row in record.rows)
    assert record.rows[0].counts is not None
    assert record.rows[0].counts.counts.sum() == 16 * 3
    assert record.side.rectifiers == 2
    assert record.side.size.nodes == 4
    assert {"onnxruntime", "numpy", "provider"} <= record.environment.keys()


def test_the_record_holds_what_was_not_decided_and_what_was_removed() -> None:
    found = findings(two_rectifiers())
    record = report(found, "net", options(), frozenset({"second"}))
    assert [(type(row.found), row.removed) for row in record.rows] == [(Undecided, False), (Decision, True)]


def test_rectifiers_that_cannot_be_read_are_refused_by_name() -> None:
    g = builder()
    model = g.model({"x": ["N", 3], "slope": [3]}, [g.node("PRelu", "x", "slope")])
    record = inspect(model)
    (refusal,) = record.refusals
    assert (refusal.where, refusal.stage) == (model.graph.node[0].name, "rectifier")
    assert "slope is not a constant" in refusal.reason
    assert record.side.rectifiers == 1
    assert record.rows == ()


def test_sizes_of_an_open_batch_are_those_of_one_sample() -> None:
    g = builder()
    view = view_from_model(ir.from_proto(g.model({"x": ["N", 3]}, [g.gemm("x", (3, 5))])))
    assert side_of(view).size.macs == 15
    assert side_of(view, {"N": 4}).size.macs == 60


def test_a_model_that_cannot_run_is_inspected_without_data_and_refused_with() -> None:
    assert len(findings(custom()).rectifiers) == 1
    with pytest.raises(UnsupportedError, match=r"com\.example"):
        findings(custom(), data=data())


def test_why_a_model_does_not_run() -> None:
    assert why_not_runnable(ir.from_proto(two_rectifiers()), options()) is None
    refused = why_not_runnable(ir.from_proto(custom()), options())
    assert refused is not None
    assert "com.example" in refused.reason
    assert "\n" not in refused.reason
    assert "--latency macs" in refused.lift


def test_a_model_without_inputs_takes_no_data() -> None:
    g = builder()
    model = g.model({}, [g.node("Relu", g.node("RandomNormal", shape=[2, 3]))])
    assert len(findings(model).rectifiers) == 1
    with pytest.raises(UsageError, match="no inputs"):
        findings(model, data=data())


def test_data_that_do_not_fit_are_the_users_mistake() -> None:
    with pytest.raises(UnreadableError):
        findings(two_rectifiers(), data={"x": np.zeros((4, 7), np.float32)})
    with pytest.raises(UnreadableError):
        findings(two_rectifiers(), data="nowhere.npz")


def test_data_of_several_inputs_of_several_types() -> None:
    nodes = [
        helper.make_node("Where", ["mask", "x", "z"], ["chosen"]),
        helper.make_node("Relu", ["chosen"], ["first"]),
        helper.make_node("Cast", ["ids"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["first", "weights"], ["second"]),
        helper.make_node("Relu", ["second"], ["y"]),
    ]
    kinds = {"x": TensorProto.FLOAT, "z": TensorProto.FLOAT, "mask": TensorProto.BOOL, "ids": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, ["N", 3]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    ones = np.ones((10, 3), np.float32)
    given = {"x": ones, "z": ones + 1, "mask": ones > 0, "ids": ones.astype(np.int64)}
    found = findings(model, data=given)
    assert list(found.linearised.decisions) == ["first", "y"]


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int | None]] = []
    findings(two_rectifiers(), data=data(), batch=8, progress=lambda *step: told.append(step))
    assert told[0][0] == "reading"
    assert ("measuring", 16, 16) in told
