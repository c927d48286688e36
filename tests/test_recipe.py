"""Plans as files: replayed bit for bit, for one model only, and nothing but plans."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.errors import UnreadableError, UsageError, VerificationError
from onnx_nepenthe.graph.serial import digest
from onnx_nepenthe.options import Options
from onnx_nepenthe.recipe import Recipe, read_recipe, replay, text_of
from onnx_nepenthe.replaying import apply_recipe
from onnx_nepenthe.run import collapse, recipe_of
from tests.helpers.outcomes import positive_model, price, save_case

MODELS = Path(__file__).parents[1] / "models"
DATA = str(MODELS / "digits-calibration.npz")
CHEAP = Options(latency="off", prove_budget_s=0.0)


def model(name: str) -> ir.Model:
    return ir.from_proto(onnx.load(MODELS / f"{name}.onnx"))


def recipe_for(name: str, folder: Path, options: Options) -> tuple[Recipe, ir.Model]:
    """The plan of a collapse, through a file, and its result."""
    _, outcome = collapse(model(name), None, options)
    path = folder / "plan.json"
    path.write_text(text_of(recipe_of(model(name), outcome)), encoding="utf-8")
    return read_recipe(path), outcome.model


@pytest.mark.parametrize("name", ["digits-mlp", "digits-resnet"])
def test_a_replay_is_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    recipe, result = recipe_for(name, tmp_path, dataclasses.replace(CHEAP, data=DATA))
    assert recipe.steps
    assert digest(replay(model(name), recipe)) == digest(result)


def test_a_replay_needs_no_data_and_verifies_where_it_can(tmp_path: Path) -> None:
    recipe, _ = recipe_for("digits-mlp", tmp_path, dataclasses.replace(CHEAP, data=DATA))
    outcome = apply_recipe(model("digits-mlp"), "m", recipe, dataclasses.replace(CHEAP, data=DATA))
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    paid = dataclasses.replace(recipe, price=price())
    assert apply_recipe(model("digits-mlp"), "m", paid, CHEAP).price == price()
    with_data = apply_recipe(model("digits-mlp"), "m", paid, dataclasses.replace(CHEAP, data=DATA))
    assert with_data.price is not None
    assert with_data.price.samples == 60
    assert with_data.price.drop <= 1.0


def test_what_rests_on_data_is_not_verified_on_random_input(tmp_path: Path) -> None:
    recipe, result = recipe_for("digits-resnet", tmp_path, dataclasses.replace(CHEAP, data=DATA))
    outcome = apply_recipe(model("digits-resnet"), "m", recipe, CHEAP)
    assert outcome.verdict is None
    assert digest(outcome.model) == digest(result)


def test_what_rests_on_proofs_is_verified_without_data(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path, positive_model())
    _, outcome = collapse(path, tmp_path / "out.onnx", dataclasses.replace(CHEAP, input_ranges={"x": (0.0, 1.0)}))
    recipe = recipe_of(path, outcome)
    replayed = apply_recipe(ir.load(path), "m", recipe, CHEAP)
    assert recipe.steps
    assert replayed.verdict is not None
    assert replayed.verdict.samples


def test_a_price_that_other_data_break_is_an_error(tmp_path: Path) -> None:
    recipe, _ = recipe_for("digits-mlp", tmp_path, dataclasses.replace(CHEAP, data=DATA))
    never = dataclasses.replace(price(), allowed=-1.0)
    with pytest.raises(VerificationError, match="price cannot be kept on these data"):
        apply_recipe(
            model("digits-mlp"), "m", dataclasses.replace(recipe, price=never), dataclasses.replace(CHEAP, data=DATA)
        )


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    recipe, _ = recipe_for("digits-mlp", tmp_path, dataclasses.replace(CHEAP, data=DATA))
    with pytest.raises(UsageError, match="for another model"):
        replay(model("digits-resnet"), recipe)


def test_a_result_that_is_not_the_recorded_one_is_an_error(tmp_path: Path) -> None:
    recipe, _ = recipe_for("digits-mlp", tmp_path, dataclasses.replace(CHEAP, data=DATA))
    with pytest.raises(VerificationError, match="differs from what the plan records"):
        replay(model("digits-mlp"), dataclasses.replace(recipe, result_hash="0"))


def test_a_budget_beside_a_plan_is_refused(tmp_path: Path) -> None:
    recipe, _ = recipe_for("digits-mlp", tmp_path, CHEAP)
    with pytest.raises(UsageError, match="leave out --max-drop"):
        apply_recipe(model("digits-mlp"), "m", recipe, dataclasses.replace(CHEAP, max_drop=1.0))


def test_prices_go_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text_of(Recipe("a", "b", True, (), {"seed": 0}, price())), encoding="utf-8")
    found = read_recipe(path)
    assert (found.price, found.frozen, found.model_hash, found.result_hash) == (price(), True, "a", "b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kind": "plan", "schema_version": 99}',
        json.dumps(
            {
                **{"kind": "plan", "schema_version": 1, "model_hash": "", "result_hash": "", "frozen": False},
                **{"options": {}, "price": None, "steps": [{"is": "Path", "args": ["/"]}]},
            }
        ),
    ],
)
def test_what_is_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableError, match="no plan of this version"):
        read_recipe(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record["steps"][0]["regions"][0]["choices"][0].update(replaced=3),
        lambda record: record["steps"][0]["regions"][0]["choices"][0].update(value=["a"]),
        lambda record: record["steps"][0].update(regions=[3]),
        lambda record: record.update(options=7),
        lambda record: record.update(steps=[[[]]]),
        lambda record: record.update(price=1),
    ],
)
def test_records_of_other_types_are_no_plan(damage: Callable[[Any], None], tmp_path: Path) -> None:
    _, outcome = collapse(model("digits-mlp"), None, dataclasses.replace(CHEAP, data=DATA))
    record = json.loads(text_of(recipe_of(model("digits-mlp"), outcome)))
    damage(record)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UnreadableError, match="no plan of this version"):
        read_recipe(path)


def test_steps_that_lead_nowhere(tmp_path: Path) -> None:
    recipe, _ = recipe_for("digits-mlp", tmp_path, dataclasses.replace(CHEAP, data=DATA))
    (region, *_) = recipe.steps[0].regions
    astray = dataclasses.replace(region.choices[0], source="nowhere")
    step = dataclasses.replace(recipe.steps[0], regions=(dataclasses.replace(region, choices=(astray,)),))
    with pytest.raises(UnreadableError, match="the plan is damaged"):
        replay(model("digits-mlp"), dataclasses.replace(recipe, steps=(step,)))


def test_a_plan_of_a_million_brackets(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[" * 1_000_000, encoding="utf-8")
    with pytest.raises(UnreadableError, match="no plan of this version"):
        read_recipe(tmp_path / "plan.json")


def test_a_missing_plan_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_recipe(tmp_path / "none.json")


def test_a_model_that_is_its_own_result_has_an_empty_plan(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path, positive_model())
    _, outcome = collapse(path, tmp_path / "out.onnx", CHEAP)
    assert not outcome.is_collapsed
    recipe = recipe_of(path, outcome)
    assert recipe.steps == ()
    assert digest(replay(ir.load(path), recipe)) == recipe.result_hash
