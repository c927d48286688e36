"""What reports say of every channel, and of what the samples are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from onnx_nepenthe.evidence import Observed, rate_bound, union_bound
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.report.channels import channels_record, confidence_record
from onnx_nepenthe.report.json import record_of_inspection, record_of_outcome
from tests.helpers import outcomes
from tests.helpers.build import Builder
from tests.helpers.collapsing import collapse, inspect


def test_channels_that_data_decided_have_bounds_and_proved_ones_none() -> None:
    row = outcomes.rows()[0]
    record = channels_record(
        replace(row, proved=np.array([1, -1, -1, 0]), seen=np.array([300, 300, 600, 300]), samples=30)
    )
    assert record["regime"] == ["ON", "ON", "ON", "OFF"]
    assert record["evidence"] == ["proved", "observed", "observed", "proved"]
    assert record["observations"] == [300, 300, 600, 300]
    assert record["bound"] == [None, 0.01, 0.005, None]
    assert record["bound_by_samples"] == [None, 0.1, 0.1, None]
    assert record["samples"] == 30
    assert record["entropy_bits"] == [0.0] * 4


def test_channels_in_two_regimes_have_no_bound() -> None:
    record = channels_record(replace(outcomes.rows()[2], seen=np.array([300, 300]), samples=30))
    assert record["regime"] == record["evidence"] == record["bound"] == [None, None]
    assert record["entropy_bits"] == pytest.approx([0.8112781, 1.0])
    assert record["shares"] == {"OFF": [0.25, 0.5], "ON": [0.75, 0.5]}


def test_lines_and_classes_are_told_where_they_were_collected() -> None:
    labels = np.arange(40) % 2
    x = np.stack([2.0 * labels - 1, np.ones(40), np.tile([-1.0, 1.0, 1.0, -1.0], 10)], axis=1).astype(np.float32)
    g = Builder(np.random.default_rng(0))
    model = g.model({"x": ["N", 3]}, [g.node("Relu", "x")])
    found = inspect(model, data={"x": x, "labels": labels}, line_sums=True, by_class=True)
    (row,) = record_of_inspection(found)["rectifier_rows"]
    line, classes = row["per_channel"]["line"], row["per_channel"]["classes"]
    assert line["slope"][0] == pytest.approx(0.5, abs=0.01)
    assert line["intercept"][0] == pytest.approx(0.5, abs=0.02)
    assert (line["slope"][1], line["intercept"][1], line["residual"][1]) == (0.0, 1.0, 0.0)
    assert classes["labels"] == [0, 1]
    assert classes["psp_entropy_bits"][:2] == [0.0, 0.0]
    assert classes["mutual_information_bits"][0] == pytest.approx(1.0, abs=0.01)
    assert classes["mutual_information_bits"][2] < 0.1
    (plain,) = record_of_inspection(inspect(model, data={"x": x}))["rectifier_rows"]
    assert plain["per_channel"]["line"] is None
    assert plain["per_channel"]["classes"] is None


def test_what_was_not_measured_is_none() -> None:
    record = channels_record(replace(outcomes.rows()[1], counts=None, proved=np.ones(2, np.int64)))
    assert record["evidence"] == ["proved", "proved"]
    measured = ("observations", "samples", "bound", "bound_by_samples", "shares", "entropy_bits", "curved_mass", "low")
    assert {record[name] for name in measured} == {None}


def curved_net() -> onnx.ModelProto:
    """HardSwish: straight beyond 3 and -3, curved between."""
    g = Builder(np.random.default_rng(0))
    return g.model({"x": ["N", 3]}, [g.node("HardSwish", "x")])


def test_curved_mass_is_the_share_of_observations_on_the_curve() -> None:
    x = np.array([[0.0, 5.0, -9.0]] * 5 + [[1.0, 5.0, 1.0]] * 5, np.float32)
    found = inspect(curved_net(), data={"x": x})
    (row,) = record_of_inspection(found)["rectifier_rows"]
    curved = row["per_channel"]["curved_mass"]
    counts = found.rows[0].counts
    assert counts is not None
    assert curved == (counts.counts[1] / counts.observations).tolist()
    assert curved[:2] == [1.0, 0.0]
    assert 0 < curved[2] < 1
    assert row["curved_mass"] == pytest.approx(sum(curved) / 3)


def test_samples_needed_for_the_rate_that_was_asked_for() -> None:
    found = outcomes.inspection()
    first = found.rows[0]
    assert isinstance(first.found, Decision)
    found = replace(found, rows=(replace(first, found=replace(first.found, evidence=Observed(300, 30, 4))),))
    record = confidence_record(found, 1e-4)
    assert (record["rate"], record["samples_needed"], record["samples"]) == (1e-4, 30_000, 30)
    assert record["bound_by_samples"] == rate_bound(30)
    assert union_bound(record["samples_needed_for_layer"], 4) <= 1e-4 < union_bound(30_000, 4)
    assert confidence_record(found, None)["rate"] == 1e-3
    nothing = confidence_record(replace(found, rows=()), None)
    assert nothing["samples_needed_for_layer"] is None


def difference() -> onnx.ModelProto:
    """z = (x0 + x1) - (x0 + x1 + 1) - 0.5 in one of two channels: intervals forget that the sums are one."""
    g = Builder(np.random.default_rng(0))
    first = g.node(
        "Gemm", "x", g.constant(np.ones((2, 2), np.float32)), g.constant(np.array([0, 1], np.float32)), out="sums"
    )
    weight = np.array([[1, 1], [-1, -0.2]], np.float32)
    kept = g.node("Relu", first)
    z = g.node("Gemm", kept, g.constant(weight), g.constant(np.array([-0.5, -0.5], np.float32)))
    return g.model({"x": ["N", 2]}, [g.gemm(g.node("Relu", z, out="r"), (2, 2))])


def test_what_a_relaxation_proves_is_not_called_observed() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (40, 2)).astype(np.float32)
    outcome = collapse(difference(), data={"x": x}, input_ranges={"x": (0.0, 1.0)})
    cuts = [r for r in record_of_outcome(outcome)["rewrites"] if r["made"].startswith("cut-channels")]
    assert [r["evidence"]["kind"] for r in cuts] == ["proved"]
    without = collapse(difference(), data={"x": x}, input_ranges={"x": (0.0, 1.0)}, prove_budget_s=0.0)
    cuts = [r for r in record_of_outcome(without)["rewrites"] if r["made"].startswith("cut-channels")]
    (evidence,) = (r["evidence"] for r in cuts)
    assert (evidence["kind"], evidence["samples"]) == ("observed", 32)
    assert evidence["layer_bound_by_samples"] == union_bound(32, 1)
