"""What is inside If, Loop and Scan is collapsed by proof alone, verified and timed with the whole model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import subgraphs
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.recipe import read_recipe, replay, text_of
from onnx_nepenthe.run import recipe_of
from onnx_nepenthe.verify import Verdict
from tests.helpers.build import Array
from tests.helpers.collapsing import assert_equal, collapse, inspect, result_of
from tests.helpers.compare import assert_close, run_runtime
from tests.zoo.control import BLOCKS, inside, outside
from tests.zoo.specimen import normal, operators_in

X = normal(2, 3, 6, 5)
FEEDS: dict[str, dict[str, Array]] = {
    "If": {"x": X, "flag": np.array(True)},
    "Loop": {"x": X, "turns": np.array(3)},
    "reading Loop": {"x": X, "turns": np.array(3)},
    "Scan": {"x": normal(3, 2, 4), "s": normal(2, 4)},
    "If in a Loop": {"x": X, "turns": np.array(3)},
}


@pytest.mark.parametrize("latency", ["off", "macs"])
@pytest.mark.parametrize("name", BLOCKS)
def test_bodies_compute_the_same_with_fewer_operators(name: str, latency: str) -> None:
    # onnx.reference before 1.22 finds no captured values in a Scan.
    model = inside(BLOCKS[name]) if name == "Scan" else outside(BLOCKS[name])
    outcome = collapse(model, latency=latency)
    after = assert_equal(outcome, model, FEEDS[name], 1e-4)
    assert sum(operators_in(after).values()) < sum(operators_in(model).values())


def test_the_journal_says_in_which_body() -> None:
    regions = [rewrite.region for rewrite in collapse(outside(BLOCKS["If in a Loop"])).rewrites]
    assert regions == ["bool_go", "a in then_branch of t", "c in else_branch of t"]


def test_weights_that_only_a_body_used_go() -> None:
    after = assert_equal(collapse(outside(BLOCKS["If"])), outside(BLOCKS["If"]), FEEDS["If"], 1e-4)
    assert [tensor.name for tensor in after.graph.initializer] == ["swap"], "the else branch still needs it"


def compared(speedup: float) -> Comparison:
    return Comparison(1.0, 1 / speedup, speedup, speedup - 0.01, speedup + 0.01, 1.0, 1.0, 9, "cpu", 1)


def test_what_is_not_slower_is_kept_with_its_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgraphs, "compare_models", lambda *_: compared(1.5))
    model = outside(BLOCKS["If"])
    outcome = collapse(model, latency="measured")
    assert_equal(outcome, model, FEEDS["If"], 1e-4)
    assert outcome.latency == compared(1.5)


def test_what_is_slower_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgraphs, "compare_models", lambda *_: compared(0.5))
    outcome = collapse(outside(BLOCKS["If"]), latency="measured")
    assert not outcome.is_collapsed
    assert {r.where for r in outcome.refusals if "put back" in r.reason} == {"then_branch of y", "else_branch of y"}


def test_what_differs_is_an_error_that_names_the_body_and_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgraphs, "check", lambda *_: Verdict(False, reason="off by one"))
    with pytest.raises(VerificationError, match=r"off by one; .*then_branch of y.*--skip-rule subgraph-bodies"):
        collapse(outside(BLOCKS["If"]))


def test_the_rule_can_be_left_out() -> None:
    outcome = collapse(outside(BLOCKS["If"]), skip=frozenset({"subgraph-bodies"}))
    assert not outcome.is_collapsed


def test_rectifiers_that_stay_are_named_with_their_body() -> None:
    """What comes from outside may be anything."""
    outcome = collapse(outside(BLOCKS["If"].replace("Sigmoid(d)", "Tanh(d)")))
    [refusal] = [r for r in outcome.refusals if r.stage == "rectifier"]
    assert refusal.where == "Relu→f in else_branch of y"
    assert refusal.reason == "no proof, and nothing is measured inside a body"


def test_operators_of_inner_bodies_are_named_with_all_bodies_around_them() -> None:
    text = BLOCKS["If in a Loop"].replace("d = Conv(x, swap)", "g = Tanh(x) f = Relu(g) d = Conv(f, swap)")
    outcome = collapse(outside(text))
    assert [r.where for r in outcome.refusals] == ["Relu→f in else_branch of t in body of y"]


def test_data_are_not_measured_in_bodies() -> None:
    data = {"x": np.abs(normal(8, 3, 6, 5)), "flag": np.array(True)}
    text = BLOCKS["If"].replace("d = Conv(x, swap)", "h = Relu(x) d = Conv(h, swap)")
    notes = inspect(outside(text)).notes
    assert notes == ("nothing is measured in the bodies of If, Loop and Scan (2 here): what goes there is proved",)
    model = outside(text)
    outcome = collapse(model, data=[data])
    assert operators_in(assert_equal(outcome, model, data, 1e-4))["Relu"] == 1


GROWING = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,6,5] x, float[N,3,1,1] start, int64 turns) => (float[N,3,H,5] grown, float[N,3,1,1] y) {
  go = Constant<value_int: int = 1>()
  bool_go = Cast<to: int = 9>(go)
  more_rows = Neg(x)
  grown, y = Loop (turns, bool_go, x, start) <
    body = b (int64 i, bool again, float[N,3,6,5] s, float[N,3,1,1] m) => (bool more, s2, m2) {
      more = Identity(again)
      s2 = Concat<axis: int = 2>(s, more_rows)
      first = Constant<value_ints: ints = [0]>()
      last = Constant<value_ints: ints = [6]>()
      height = Constant<value_ints: ints = [2]>()
      p = Slice(s, first, last, height)
      c = Conv(p, grow)
      d = Conv(c, shrink)
      m2 = ReduceMax<axes: ints = [2, 3]>(d)
    }
  >
}
"""


@pytest.mark.parametrize("turns", [1, 3])
def test_sizes_that_a_body_states_of_its_inputs_decide_nothing(turns: int) -> None:
    """The value that goes round grows; stated is the size of the first turn, of which the slice is all."""
    model = outside(GROWING)
    outcome = collapse(model)
    assert operators_in(result_of(outcome))["Conv"] == 1
    feeds = {"x": X, "start": normal(2, 3, 1, 1), "turns": np.array(turns)}
    assert_close(run_runtime(result_of(outcome), feeds), run_runtime(model, feeds), 1e-4)


@pytest.mark.parametrize("name", ["If", "If in a Loop", "reading Loop"])
def test_a_plan_replays_bodies_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = inside(BLOCKS[name]) if name == "If" else outside(BLOCKS[name])
    outcome = collapse(model)
    path = tmp_path / "plan.json"
    path.write_text(text_of(recipe_of(model, outcome)), encoding="utf-8")
    again = replay(ir.from_proto(model), read_recipe(path))
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(outcome.model).SerializeToString()


def test_the_result_is_the_same_each_time() -> None:
    made = [ir.to_proto(collapse(outside(BLOCKS["If in a Loop"])).model).SerializeToString() for _ in range(2)]
    assert made[0] == made[1]


def test_collapsing_the_result_changes_nothing() -> None:
    for text in BLOCKS.values():
        once: onnx.ModelProto = ir.to_proto(collapse(outside(text)).model)
        assert not collapse(once).is_collapsed
