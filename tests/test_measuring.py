"""A measurement made elsewhere stands for data; another model's is refused; new data are compared with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnx_nepenthe import pipeline
from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.evidence import Observed
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.measure import Measurement, read_measurement, read_measurements, to_json
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Inspection
from onnx_nepenthe.session import SessionConfig


def make(shift: float = 0.0) -> ir.Model:
    """Gemm, Relu, Gemm, Relu; the first Relu is on for inputs in (-1, 1), the second changes."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.1, (4, 5)),
        "b1": np.full(5, 3.0 + shift),
        "w2": rng.normal(0, 1, (5, 3)),
        "b2": -3 * rng.normal(0, 1, (5, 3)).sum(0) * 0,
    }
    weights["b2"] = -3 * weights["w2"].sum(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["z1"]),
        helper.make_node("Relu", ["z1"], ["y1"]),
        helper.make_node("Gemm", ["y1", "w2", "b2"], ["z2"]),
        helper.make_node("Relu", ["z2"], ["y2"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, ("N", 4))],
        [helper.make_tensor_value_info("y2", 1, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return ir.from_proto(proto)


X = np.random.default_rng(1).uniform(-1, 1, (50, 4)).astype(np.float32)


def inspect(model: ir.Model, **options: Any) -> Inspection:
    return pipeline.inspect(model, "net", Options(**options))


def measured(x: Any = X, **options: Any) -> Measurement:
    found = inspect(make(), data={"x": x}, **options).measurement
    assert found is not None
    return found


def write(path: Path, measurement: Measurement, **report: Any) -> Path:
    data = to_json(measurement)
    path.write_text(json.dumps({"schema_version": 1, "measurement": data} if report else data), encoding="utf-8")
    return path


def test_shards_give_the_counts_of_one_run(tmp_path: Path) -> None:
    whole = inspect(make(), data={"x": X}, against=measured()).measurement
    assert whole is not None
    parts = [inspect(make(), data={"x": x}, against=measured()).measurement for x in (X[:20], X[20:])]
    paths = [write(tmp_path / f"shard{at}.json", part) for at, part in enumerate(parts) if part is not None]
    assert to_json(read_measurements(paths)) == to_json(whole)


def test_collapse_without_data_as_with_it() -> None:
    recorded = measured()
    outcome = pipeline.collapse(make(), "net", Options(measurement=recorded, latency="off"))
    assert outcome.is_collapsed
    assert outcome.inspection.samples == recorded.samples
    with_data = pipeline.collapse(make(), "net", Options(data={"x": X}, latency="off"))
    assert [r.replaced for r in outcome.rewrites] == [r.replaced for r in with_data.rewrites]


def test_evidence_says_how_many_samples() -> None:
    row = inspect(make(), data={"x": X}).rows[0]
    assert isinstance(row.found, Decision)
    assert row.found.evidence == Observed(40, 40, 5)


def test_collapse_scans_and_inspect_counts() -> None:
    outcome = pipeline.collapse(make(), "net", Options(data={"x": X}, latency="off", batch=10))
    assert outcome.inspection.measurement is not None
    assert outcome.inspection.measurement.partial == {"y2"}
    assert [row.counts is None for row in outcome.inspection.rows] == [False, True]
    full = inspect(make(), data={"x": X}, batch=10)
    assert [row.counts is None for row in full.rows] == [False, False]
    assert [type(row.found) for row in full.rows] == [type(row.found) for row in outcome.inspection.rows]
    asked = inspect(make(), data={"x": X}, batch=10, scan=True)
    assert [row.counts is None for row in asked.rows] == [False, True]


def test_a_flip_rate_the_data_cannot_support() -> None:
    refused = inspect(make(), data={"x": X}, max_flip_rate=1e-4)
    assert "support a flip rate of 7.5e-02" in refused.rows[0].found.refusal.reason  # type: ignore[union-attr]
    assert isinstance(inspect(make(), data={"x": X}, max_flip_rate=0.1).rows[0].found, Decision)
    outcome = pipeline.collapse(make(), "net", Options(data={"x": X}, max_flip_rate=1e-4, latency="off"))
    assert not outcome.is_collapsed


def test_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match="the measurement is of another model"):
        inspect(make(shift=1.0), measurement=measured())
    with pytest.raises(UsageError, match="the measurement is of another model"):
        inspect(make(shift=1.0), data={"x": X}, against=measured())


def test_other_regimes_are_refused() -> None:
    recorded = measured()
    counts = recorded.counts["y1"]
    bad = replace(counts, counts=np.zeros((3, 5), np.int64), ties=np.zeros((2, 5), np.int64))
    with pytest.raises(UsageError, match=r"other regimes of (y1|Relu)"):
        inspect(make(), measurement=replace(recorded, counts={"y1": bad}))


def test_a_measurement_made_elsewhere_says_so_and_is_used() -> None:
    recorded = measured()
    assert recorded.settings["provider"] == "cpu"
    assert not any("provider" in note for note in inspect(make(), measurement=recorded).notes)
    elsewhere = replace(recorded, settings={**recorded.settings, "provider": "cuda"})
    found = inspect(make(), measurement=elsewhere)
    (note,) = (note for note in found.notes if "provider" in note)
    assert note.startswith("the measurement was made with provider cuda, this run has cpu")
    assert isinstance(found.rows[0].found, Decision)
    (note,) = (n for n in inspect(make(), data={"x": X}, against=elsewhere).notes if "provider" in n)
    assert note.startswith("the earlier measurement")
    long = measured(config=SessionConfig(provider="CPUExecutionProvider"))
    assert long.settings == recorded.settings


@pytest.mark.parametrize(("option", "name"), [("line_sums", "--line-sums"), ("by_class", "--by-class")])
def test_statistics_that_were_not_measured_are_refused_by_name(option: str, name: str) -> None:
    arrays = {"x": X, "labels": np.arange(len(X)) % 3}
    with pytest.raises(UsageError, match=f"the measurement was made without {name} \\(counts\\); measure again"):
        inspect(make(), measurement=measured(), **{option: True})
    full = inspect(make(), data=arrays, **{option: True}).measurement
    assert inspect(make(), measurement=full, **{option: True}).measurement is full


def test_drift_is_listed() -> None:
    recorded = measured()
    assert inspect(make(), data={"x": X[::-1]}, against=recorded).drifts == ()
    (drift,) = inspect(make(), data={"x": X * 100}, against=recorded).drifts
    assert (drift.key, drift.was_line) == ("y1", True)
    with pytest.raises(UsageError, match="compared with new data; give --data"):
        inspect(make(), against=recorded)


def test_files_that_do_not_hold_a_measurement(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"absent.json: cannot be read"):
        read_measurement(tmp_path / "absent.json")
    path = tmp_path / "m.json"
    for text, reason in (
        ("{", "not JSON"),
        ("[]", "not a measurement"),
        ('{"schema_version": 1}', "a report without a measurement"),
        ('{"schema_version": 1, "measurement": {"version": 1}}', "damaged"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UnreadableError, match=f"m.json: .*{reason}"):
            read_measurement(path)
    with pytest.raises(UsageError, match="no measurement to merge"):
        read_measurements([])


def test_a_report_that_holds_a_measurement_is_read(tmp_path: Path) -> None:
    recorded = measured()
    assert to_json(read_measurement(write(tmp_path / "report.json", recorded, report=True))) == to_json(recorded)


def test_shards_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    recorded = measured()
    first = write(tmp_path / "first.json", recorded)
    other = write(tmp_path / "other.json", replace(recorded, model_hash="ff" * 32))
    with pytest.raises(UsageError, match=r"other.json: cannot merge measurements of different models"):
        read_measurements([first, other])
    scan = write(tmp_path / "scan.json", measured(scan=True))
    with pytest.raises(UsageError, match=r"scan.json: cannot merge .* different collect: counts and scan"):
        read_measurements([first, scan])
