"""Tables of latency: measured, imported, obeyed; the same command twice gives the same model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import workshop
from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.graph.serial import digest
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from onnx_nepenthe.tables import operator_table
from onnx_nepenthe.tabling import measured_table

MODELS = Path(__file__).parents[1] / "models"
MLP = MODELS / "digits-mlp.onnx"
OPTIONS = Options(data=str(MODELS / "digits-calibration.npz"), prove_budget_s=0.0)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of digits-mlp, with made-up times: what is fitted takes a tenth of what it stands for."""
    path = tmp_path_factory.mktemp("table") / "table.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop, "PART_BUDGET_S", 0.002)
        found = json.loads(measured_table(MLP, OPTIONS).to_json())
    return write(path, found, {"substitute": 1e-5, "part": 1e-4, "model": 1e-3})


def write(path: Path, found: Mapping[str, object], times: Mapping[str, float]) -> Path:
    costs = found["costs"]
    assert isinstance(costs, dict)
    made_up = {key: times.get(key.split(" ")[0], cost) for key, cost in costs.items()}
    path.write_text(json.dumps({"fingerprint": "another machine", "costs": made_up}), encoding="utf-8")
    return path


def model() -> ir.Model:
    return ir.from_proto(onnx.load(MLP))


def test_a_table_has_operators_parts_substitutes_and_the_model(table: Path) -> None:
    kinds = {key.split(" ")[0] for key in json.loads(table.read_text())["costs"]}
    assert {"part", "substitute", "model"} < kinds


def test_the_same_command_twice_gives_the_same_model(table: Path) -> None:
    options = dataclasses.replace(OPTIONS, latency_table=table, max_drop=8.0)
    first, second = (collapse(model(), "m", options) for _ in range(2))
    assert first.price is not None
    assert first.price.substitutes
    assert first.latency is None, "nothing was timed here"
    assert digest(first.model) == digest(second.model)


def test_what_the_table_says_is_slower_is_never_chosen(table: Path, tmp_path: Path) -> None:
    slow = write(tmp_path / "slow.json", json.loads(table.read_text()), {"substitute": 1e-3, "part": 1e-4})
    outcome = collapse(model(), "m", dataclasses.replace(OPTIONS, latency_table=slow, max_drop=50.0))
    assert outcome.price is not None
    assert outcome.price.substitutes == ()


def test_a_composition_that_the_table_says_is_slower_is_left(table: Path, tmp_path: Path) -> None:
    record = json.loads(table.read_text())
    for key in record["costs"]:
        record["costs"][key] = 1e-6 if key.startswith('["keep"') else 1.0
    slow = write(tmp_path / "slow.json", record, {})
    outcome = collapse(model(), "m", dataclasses.replace(OPTIONS, latency_table=slow))
    assert [rewrite for rewrite in outcome.rewrites if rewrite.made.startswith(("Gemm", "MatMul"))] == []


def test_a_target_is_reached_by_the_table(table: Path) -> None:
    outcome = collapse(model(), "m", dataclasses.replace(OPTIONS, latency_table=table, target_speedup=1.05))
    assert outcome.price is not None
    saved = sum(one.gain_ms for one in outcome.price.substitutes)
    assert 1.0 / (1.0 - saved) >= 1.05


def test_a_model_that_the_table_does_not_know_is_said(table: Path, tmp_path: Path) -> None:
    record = json.loads(table.read_text())
    record["costs"] = {key: cost for key, cost in record["costs"].items() if not key.startswith("model")}
    other = write(tmp_path / "other.json", record, {})
    with pytest.raises(UsageError, match="does not know this model"):
        collapse(model(), "m", dataclasses.replace(OPTIONS, latency_table=other, max_drop=1.0))


@pytest.mark.parametrize("text", ["", "[]", '{"costs": 1}', '{"costs": {"a": -1.0}}'])
def test_what_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableError, match="is no latency table"):
        operator_table(dataclasses.replace(OPTIONS, latency_table=path))


def test_a_missing_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read"):
        operator_table(dataclasses.replace(OPTIONS, latency_table=tmp_path / "none.json"))
