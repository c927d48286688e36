"""Records as JSON: strict, complete, in one order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.evidence import Fitted, Observed, Proved
from onnx_nepenthe.report.json import (
    SCHEMA_VERSION,
    evidence_record,
    plain,
    record_of_error,
    record_of_inspection,
    record_of_outcome,
    record_of_verdict,
    text_from,
)
from tests.helpers import outcomes

PAIRS = ("rectifiers", "weighted_depth", "nodes", "parameters", "macs", "bytes")
LATENCY = (
    *("before_ms", "after_ms", "speedup", "low", "high"),
    *("control_low", "control_high", "pairs", "provider", "threads"),
)
VERIFICATION = (
    *("passed", "max_abs_error", "mean_abs_error", "tolerance", "samples", "agreement"),
    *("top1_before", "top1_after", "disjoint", "source", "engine"),
)


def strict(record: object) -> dict:
    """Through text and back, refusing what JSON has not got."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    return json.loads(text_from(record), parse_constant=refuse)


def test_an_outcome_has_every_promised_key() -> None:
    record = strict(record_of_outcome(outcomes.outcome(), output=Path("out.onnx"), command="onnx-nepenthe collapse x"))
    assert record["schema_version"] == SCHEMA_VERSION
    assert (record["written"], record["collapsed"], record["output"]) == (True, True, "out.onnx")
    assert all(set(record[name]) == {"before", "after"} for name in PAIRS)
    assert record["rectifiers"] == {"before": 5, "after": 4}
    assert record["bytes"] == {"before": 49_380, "after": 40_000}
    assert set(LATENCY) <= set(record["latency"])
    assert record["latency"]["speedup"] == 1.5
    assert set(VERIFICATION) <= set(record["verification"])
    assert record["verification"]["max_rel_error"] is None, "NaN becomes null"
    assert record["command_line"] == "onnx-nepenthe collapse x"
    assert {"environment", "options", "message", "notes", "samples"} <= set(record)


def test_decisions_carry_their_evidence() -> None:
    first, second = strict(record_of_outcome(outcomes.outcome()))["decisions"]
    assert {name: first["evidence"][name] for name in ("kind", "n", "bound")} == {
        "kind": "observed",
        "n": 300,
        "bound": 0.01,
    }
    assert {"samples", "bound_by_samples", "layer_bound", "layer_bound_by_samples"} <= set(first["evidence"])
    assert first["pieces"] == {"OFF": 1, "ON": 3}
    assert (first["removed"], first["observed_channels"], first["proved_channels"]) == (True, 4, 0)
    assert second["evidence"] == {"kind": "proved", "how": "z in [0, inf)"}
    assert second["removed"] is False


def test_rows_have_shares_and_entropy_of_the_counts() -> None:
    rows = strict(record_of_outcome(outcomes.outcome()))["rectifier_rows"]
    assert [row["status"] for row in rows] == ["removed", "linear", "stays", "stays"]
    assert rows[0]["shares"] == {"OFF": 0.25, "ON": 0.75}
    assert rows[0]["entropy_bits"] == 0.0
    assert rows[2]["entropy_bits"] == pytest.approx((1 + 0.8112781) / 2)
    assert rows[3]["regimes"] == ["OFF", "curved", "ON"]
    assert sum(rows[3]["shares"].values()) == pytest.approx(1.0)


def test_refusals_name_what_stays_and_why_and_each_once() -> None:
    outcome = outcomes.outcome()
    refusals = strict(record_of_outcome(outcome))["refusals"]
    assert [r["stage"] for r in refusals] == ["rectifier", "rectifier", "rectifier", "latency"]
    assert all(set(r) == {"where", "stage", "reason", "lift"} for r in refusals)
    stays = outcome.inspection.rows[2].found.refusal
    told = dataclasses.replace(outcome.refusals[0], where=outcomes.HOSTILE, reason=stays.reason, stage="verification")
    again = strict(record_of_outcome(dataclasses.replace(outcome, refusals=(told,))))["refusals"]
    assert [r["stage"] for r in again] == ["rectifier", "rectifier", "verification"]


def test_rewrites_have_their_region_s_speedup() -> None:
    (rewrite,) = strict(record_of_outcome(outcomes.outcome()))["rewrites"]
    assert rewrite["replaced"] == ["layer1/conv", "layer1/relu", "layer2/conv"]
    assert (rewrite["made"], rewrite["speedup"]) == ("Conv 3x3 8→16", 1.75)


def test_what_was_not_measured_is_null_under_the_same_keys() -> None:
    full = strict(record_of_outcome(outcomes.outcome(), output="o"))
    bare = strict(record_of_outcome(outcomes.outcome(collapsed=False)))
    assert list(bare) == list(full)
    assert list(bare["latency"]) == list(full["latency"])
    assert list(bare["verification"]) == list(full["verification"])
    assert {bare["latency"][key] for key in LATENCY} == {None}
    assert {bare["verification"][key] for key in VERIFICATION} == {None}
    assert (bare["written"], bare["collapsed"], bare["output"]) == (False, False, None)


def test_an_inspection_has_the_same_keys_and_no_after() -> None:
    record = strict(record_of_inspection(outcomes.inspection(), message="m"))
    assert record["rectifiers"] == {"before": 5, "after": None}
    assert record["written"] is False
    assert set(record) <= set(strict(record_of_outcome(outcomes.outcome())))


def test_equal_runs_give_equal_text() -> None:
    assert text_from(record_of_outcome(outcomes.outcome())) == text_from(record_of_outcome(outcomes.outcome()))


def test_a_verdict_and_an_error() -> None:
    record = strict(
        record_of_verdict(outcomes.verdict(passed=False), ("a", "b"), message="no", environment={"threads": 0})
    )
    assert (record["verification"]["passed"], record["model"], record["against"]) == (False, "a", "b")
    error = strict(record_of_error(VerificationError("differs"), "collapse"))
    assert error["written"] is False
    assert error["error"] == {"kind": "VerificationError", "exit_code": 3, "message": "differs"}


@pytest.mark.parametrize(
    ("evidence", "kind"), [(Proved("so"), "proved"), (Observed(3), "observed"), (Fitted(0.1), "fitted"), (None, None)]
)
def test_every_kind_of_evidence_is_recorded(evidence: object, kind: str | None) -> None:
    record = evidence_record(evidence)
    assert (record and record["kind"]) == kind


def test_plain_knows_what_records_hold() -> None:
    value = {"a": np.float32(np.inf), "b": np.arange(2), "c": {Path("x")}, "d": (True, np.bool_(False)), "e": object}
    assert plain(value) == {"a": None, "b": [0, 1], "c": ["x"], "d": [True, False], "e": str(object)}


def test_lists_of_numbers_take_one_line() -> None:
    text = text_from({"each": [[1.5, 2], [3]], "empty": [], "none": {}})
    assert text == '{\n  "each": [\n    [1.5, 2],\n    [3]\n  ],\n  "empty": [],\n  "none": {}\n}\n'


def test_what_was_timed_and_replaced_is_in_the_record() -> None:
    record = strict(record_of_outcome(outcomes.outcome()))
    assert len(record["latency"]["each_ms"]) == record["latency"]["pairs"]
    (rewrite,) = record["rewrites"]
    assert [drawn["op"] for drawn in rewrite["before"]["operators"]] == ["Conv", "Relu", "Conv"]
    assert rewrite["before"]["shape"] == ["N", 8, 14, 14]
