"""Records of rounds."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError

pytest.importorskip("torch")

from onnx_nepenthe.prune.methods import METHODS
from onnx_nepenthe.prune.records import Attempt, Note
from onnx_nepenthe.prune.rounds import Result, Round, Theta, state_of
from onnx_nepenthe.prune.training import Epoch
from tests.helpers.pruned import SMOOTH, counts, layer

ROUND = Round(
    1,
    "round",
    0.875,
    True,
    removed=("a",),
    linear=("a",),
    entropy={"a": 0.5, "b": 0.0},
    zero=("b",),
    sparsity=0.25,
    pq_index=0.1,
    pq_by_layer={"a": 0.1},
    notes=(Note("a", "kept"),),
    epochs=2.5,
    seconds_s=1.5,
    losses=(Epoch(1, 1.0, 0.7, 0.1, 0.2),),
)


def test_a_record_is_plain_json_and_comes_back() -> None:
    assert Round.from_json(json.loads(json.dumps(ROUND.to_json()))) == ROUND
    assert ROUND.attempt == Attempt(("a",), True, 0.875, 2.5)


def test_a_result_is_plain_json() -> None:
    result = Result("easier", 0.8, (ROUND, ROUND), 1, "done", 5.0, 3.0, test=0.9)
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["rounds"][1]["pq_index"] == 0.1
    assert (plain["theta"], plain["test"], plain["dense_test"], plain["reason"]) == (0.8, 0.9, None, "done")
    assert result.final is result.rounds[1]
    assert result.dense is result.rounds[0]


@pytest.mark.parametrize(
    ("text", "dense", "expected"),
    [
        ("0.91", 0.95, 0.91),
        ("91%", 0.95, 0.91),
        ("dense-1.5", 0.95, 0.935),
        ("Dense - 0.5", 0.9, 0.895),
        ("dense", 1, 1),
    ],
)
def test_theta_is_an_accuracy_or_points_below_the_dense_network(text: str, dense: float, expected: float) -> None:
    assert Theta.parse(text).of(dense) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "high", "dense*2", "9 of 10", "92", "2", "nan", "-0.1", "120%", "dense1.5", "dense+1", "dense-nan"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"give 0\.91, 91% or dense-1\.5"):
        Theta.parse(text)


@pytest.mark.parametrize("theta", [{}, {"accuracy": 0.9, "points": 1.0}])
def test_theta_is_one_of_the_two(theta: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="give an accuracy, or points"):
        Theta(**theta)


def test_the_state_of_a_network_is_that_of_its_layers_and_sites() -> None:
    mask = np.array([[True, False], [True, True]])
    mixed = layer("mixed", [[1.0, 0.0], [4.0, 3.0]], counts([1, 0], [1, 2]), mask=mask)
    line = layer("line", [[1.0]], counts([0], [2]), is_linear=True)
    settled = layer("settled", [[1.0]], counts([2], [0]))
    smooth = layer("smooth", [[1.0]], counts([0], [4], [0]), activation=SMOOTH, signs=counts([1], [3]))
    layers = [mixed, line, settled, smooth]
    statistics = {one.site.name: one.statistics for one in layers}
    bits = -0.25 * math.log2(0.25) - 0.75 * math.log2(0.75)
    found = state_of(layers, statistics, ("line",), METHODS["nepenthe"])
    assert found["entropy"] == {"line": 0.0, "mixed": 1.0, "settled": 0.0, "smooth": pytest.approx(bits)}
    assert found["zero"] == ("settled",)
    assert found["linear"] == ("line",)
    assert found["sparsity"] == pytest.approx(1 / 7)
    assert found["pq_by_layer"]["line"] == 0.0
    assert 0 < found["pq_index"] < 1
    assert state_of(layers, statistics, (), METHODS["easier"])["entropy"]["mixed"] == 0.5


def test_a_network_without_prunable_layers_has_a_state_too() -> None:
    found = state_of([], {}, (), METHODS["egp"])
    assert (found["sparsity"], found["pq_index"], found["entropy"]) == (0.0, 0.0, {})
