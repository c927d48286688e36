"""A collapse with a price: what is bought, what it costs, and what happens when the price cannot be kept.

Times are faked (a saved rectifier saves a millisecond), so that nothing here depends on the machine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import billing, budgeted, run
from onnx_nepenthe.errors import UsageError, VerificationError
from onnx_nepenthe.graph.serial import digest
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from onnx_nepenthe.recipe import replay
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.report.json import record_of_outcome
from onnx_nepenthe.spans import dominators
from onnx_nepenthe.substitutes import Substitute, substitutes
from onnx_nepenthe.workshop import Workshop

MODELS = Path(__file__).parents[1] / "models"
KINDS_OF_A_BLOCK = {"identity", "conv1", "conv3", "depthwise3", "scale"}
DATA = str(MODELS / "digits-calibration.npz")


def comparison(speedup: float) -> Comparison:
    return Comparison(10.0, 10.0 / speedup, speedup, speedup * 0.99, speedup * 1.01, 0.99, 1.01, 9, "cpu", 0)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    def gain(self: Workshop, substitute: Substitute) -> float:
        return float(len(substitute.rectifiers))

    monkeypatch.setattr(Workshop, "gain_ms", gain)
    monkeypatch.setattr(budgeted, "compare_models", lambda before, after, *rest: comparison(_ratio(before, after)))


def _ratio(before: ir.Model, after: ir.Model) -> float:
    counts = [len(find_rectifiers(view_from_model(model))[0]) for model in (before, after)]
    return 10.0 / (10.0 - counts[0] + counts[1])


def model(name: str) -> ir.Model:
    return ir.from_proto(onnx.load(MODELS / f"{name}.onnx"))


def test_substitutes_begin_and_end_at_dominators() -> None:
    view = view_from_model(model("digits-resnet"))
    parents = dominators(view)
    assert parents["inverted1.add.output"] == "basic.act2.output"
    rectifiers, _ = find_rectifiers(view)
    found = substitutes(view, rectifiers, {"N": 1})
    block = [s for s in found if (s.source, s.target) == ("basic.act2.output", "inverted1.add.output")]
    assert {s.kind for s in block} == KINDS_OF_A_BLOCK
    assert {len(s.rectifiers) for s in block} == {2}
    assert len([s for s in found if s.kind == "line"]) == len(rectifiers)
    assert all(s.rectifiers for s in found)


@pytest.mark.usefixtures("faked")
def test_price_is_kept_on_data_nothing_else_saw() -> None:
    name = "digits-mlp"
    outcome = collapse(model(name), name, Options(data=DATA, max_drop=8.0, latency="off", prove_budget_s=0.0))
    exact = collapse(model(name), name, Options(data=DATA, latency="off", prove_budget_s=0.0))
    assert outcome.price is not None
    assert outcome.price.drop <= 8.0
    assert outcome.price.low <= outcome.price.drop <= outcome.price.high
    assert outcome.price.substitutes
    assert outcome.price.samples == 60
    assert outcome.after.rectifiers < exact.after.rectifiers
    assert outcome.verdict is not None
    assert outcome.verdict.passed


@pytest.mark.usefixtures("faked")
def test_the_same_command_twice_gives_the_same_model() -> None:
    options = Options(data=DATA, max_drop=8.0, latency="off", prove_budget_s=0.0)
    first, second = (ir.to_proto(collapse(model("digits-mlp"), "m", options).model) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.usefixtures("faked")
def test_a_target_speedup_is_reached_or_refused() -> None:
    options = Options(data=DATA, target_speedup=1.4, latency="off", prove_budget_s=0.0)
    outcome = collapse(model("digits-mlp"), "m", options)
    assert outcome.latency is not None
    assert outcome.latency.speedup >= 1.4
    with pytest.raises(VerificationError, match="99 times as fast"):
        collapse(model("digits-mlp"), "m", Options(data=DATA, target_speedup=99.0, latency="off", prove_budget_s=0.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 1.0}, "give --data"),
        ({"max_drop": -1.0, "data": DATA}, "0 or more"),
        ({"max_drop": 1.0, "target_speedup": 2.0, "data": DATA}, "exclude each other"),
        ({"target_speedup": 0.5, "data": DATA}, "above 1"),
        ({"max_drop": 1.0, "data": DATA, "metric": "bleu"}, "no metric is called 'bleu'"),
    ],
)
def test_contradictions_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        collapse(model("digits-mlp"), "m", Options(prove_budget_s=0.0, latency="off", **options))  # type: ignore[arg-type]


@pytest.mark.usefixtures("faked")
def test_what_a_fit_did_away_with_says_so() -> None:
    outcome = collapse(model("digits-mlp"), "m", Options(data=DATA, max_drop=8.0, latency="off", prove_budget_s=0.0))
    record = record_of_outcome(outcome)
    fitted = [row for row in record["rectifier_rows"] if (row["evidence"] or {}).get("kind") == "fitted"]
    assert len(fitted) == sum(one.rectifiers for one in outcome.price.substitutes)  # type: ignore[union-attr]
    assert all(row["status"] == "removed" for row in fitted)
    rewrites = [rewrite for rewrite in record["rewrites"] if (rewrite["evidence"] or {}).get("kind") == "fitted"]
    paid = [*record["price"]["substitutes"], *record["price"]["refits"]]
    assert [rewrite["evidence"]["residual"] for rewrite in rewrites] == [one["residual"] for one in paid]


@pytest.mark.usefixtures("faked")
def test_where_nothing_is_cheap_enough_the_exact_collapse_has_its_bill() -> None:
    outcome = collapse(model("digits-mlp"), "m", Options(data=DATA, max_drop=0.0, latency="off", prove_budget_s=0.0))
    assert outcome.price is not None
    assert outcome.price.drop <= 0.0


@pytest.mark.usefixtures("faked")
def test_nothing_is_paid_for_what_is_no_faster_than_the_exact_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it saves by itself the exact collapse may have saved already."""
    monkeypatch.setattr(budgeted, "compare_models", lambda before, after, *rest: comparison(1.4))
    options = Options(data=DATA, max_drop=8.0, latency="off", prove_budget_s=0.0)
    outcome = collapse(model("digits-mlp"), "m", options)
    exact = collapse(model("digits-mlp"), "m", replace(options, max_drop=None))
    assert outcome.price is not None
    assert (outcome.price.substitutes, outcome.price.drop) == ((), 0.0)
    assert digest(outcome.model) == digest(exact.model)


@pytest.mark.usefixtures("faked")
def test_a_price_that_the_exact_collapse_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "paired_drop", lambda *rest: (9.0, 8.0, 10.0))
    with pytest.raises(VerificationError, match=r"9\.00 points lost"):
        collapse(model("digits-mlp"), "m", Options(data=DATA, max_drop=8.0, latency="off", prove_budget_s=0.0))


@pytest.mark.usefixtures("faked")
def test_what_was_bought_is_replayed_bit_for_bit() -> None:
    options = Options(data=DATA, max_drop=8.0, latency="off", prove_budget_s=0.0)
    _, outcome = run.collapse(model("digits-mlp"), None, options)
    recipe = run.recipe_of(model("digits-mlp"), outcome)
    assert recipe.price is not None
    assert recipe.price.substitutes
    assert digest(replay(model("digits-mlp"), recipe)) == digest(outcome.model) == recipe.result_hash
