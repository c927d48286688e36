"""Decisions: every channel in one regime, by proof or by counts, or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.evidence import Observed, Proved
from onnx_nepenthe.linearise import NEEDS_DATA, UNDECIDED, Decision, Undecided, decide, linearise, lines
from onnx_nepenthe.regimes import RegimeCounts
from tests.helpers.counted import GELU, HARD_SWISH, JUMP, RELU, RELU6, counted, rectifier, with_nan

UNPROVED = (UNDECIDED,) * 3


def found(
    activation: Activation, counts: RegimeCounts | None, proved: Sequence[int] = UNPROVED, how: str = "because"
) -> Decision | Undecided:
    return decide(rectifier(activation, len(proved)), np.array(proved), how, counts)


def decided(activation: Activation, counts: RegimeCounts | None, proved: Sequence[int] = UNPROVED) -> Decision:
    decision = found(activation, counts, proved)
    assert isinstance(decision, Decision)
    return decision


def refused(activation: Activation, counts: RegimeCounts | None, proved: Sequence[int] = UNPROVED) -> Undecided:
    undecided = found(activation, counts, proved)
    assert isinstance(undecided, Undecided)
    return undecided


def test_on_and_off_channels_mixed_are_one_line_per_channel() -> None:
    decision = decided(RELU, counted(RELU, [1, 2], [-1, -2], [3, 4]))
    assert decision.pieces.tolist() == [1, 0, 1]
    assert decision.slope.tolist() == [1, 0, 1]
    assert decision.intercept.tolist() == [0, 0, 0]
    assert decision.axis == 1
    assert decision.operand == "z"
    assert (decision.proved, decision.observed) == (0, 3)


def test_one_line_for_all_channels_needs_no_axis() -> None:
    decision = decided(RELU, counted(RELU, [1], [2], [3]))
    assert (decision.slope.tolist(), decision.intercept.tolist(), decision.axis) == ([1], [0], None)


def test_saturated_channels_are_constants() -> None:
    decision = decided(RELU6, counted(RELU6, [7, 9], [-1, -1], [1, 5]))
    assert (decision.slope.tolist(), decision.intercept.tolist()) == ([0, 0, 1], [6, 0, 0])


def test_the_observations_are_those_of_the_least_observed_channel() -> None:
    evidence = decided(RELU, counted(RELU, [1, 2], [-1, -2, -3], [3, 4, 5, 6])).evidence
    assert isinstance(evidence, Observed)
    assert evidence.n == 2


def test_an_unknown_number_of_channels_is_one_channel() -> None:
    alone = rectifier(RELU, channels=None)
    result = linearise((alone,), {}, {"y": counted(RELU, [1, 2, 3])})
    assert result.decisions["y"].slope.tolist() == [1]
    assert list(linearise((alone,), {}, {}).undecided) == ["y"]


def test_counts_of_other_channels_than_the_rectifier_has_decide_nothing() -> None:
    assert refused(RELU, counted(RELU, [1, 2])).pieces.tolist() == [UNDECIDED] * 3


@pytest.mark.parametrize(
    ("activation", "seen", "piece"),
    [
        (RELU, [0, 1], 1),
        (RELU, [0, -1], 0),
        (RELU, [0, 0], 0),
        (RELU6, [6, 6], 1),
        (RELU6, [0, 6], 1),
        (RELU6, [6, 7], 2),
        (JUMP, [1, 0.5], 0),
        (JUMP, [1, 1], 0),
        (HARD_SWISH, [3, 4], 2),
        (HARD_SWISH, [3, 3], 2),
        (HARD_SWISH, [-3, -5], 0),
    ],
)
def test_a_tie_agrees_with_every_piece_that_has_its_value(
    activation: Activation, seen: list[float], piece: int
) -> None:
    assert decided(activation, counted(activation, seen), (UNDECIDED,)).pieces.tolist() == [piece]


@pytest.mark.parametrize("seen", [[1, 2], [0.5, 2]])
def test_a_tie_where_the_activation_jumps_belongs_to_one_side(seen: list[float]) -> None:
    assert refused(JUMP, counted(JUMP, seen), (UNDECIDED,)).pieces.tolist() == [UNDECIDED]


def test_a_knot_that_belongs_above() -> None:
    above = Activation(knots=(1.0,), lines=((0.0, 0.0), (1.0, 0.0)), knot_above=(True,))
    assert decided(above, counted(above, [1, 2]), (UNDECIDED,)).pieces.tolist() == [1]
    assert refused(above, counted(above, [1, 0]), (UNDECIDED,))


def test_proof_needs_no_data() -> None:
    decision = decided(RELU, None, (1, 1, 1))
    assert decision.evidence == Proved("because")
    assert (decision.proved, decision.observed) == (3, 0)


def test_proof_counts_more_than_data() -> None:
    """z on the knot agrees with both pieces; the proved one is taken."""
    decision = decided(RELU, counted(RELU, [0, 0], [1, 2], [3]), (1, 1, 1))
    assert decision.pieces.tolist() == [1, 1, 1]
    assert isinstance(decision.evidence, Proved)


def test_channels_may_rest_on_different_evidence_and_the_weakest_is_reported() -> None:
    decision = decided(RELU, counted(RELU, [1], [-1, -2], [5, 6, 7]), (1, UNDECIDED, UNDECIDED))
    assert decision.pieces.tolist() == [1, 0, 1]
    assert (decision.proved, decision.observed) == (1, 2)
    assert isinstance(decision.evidence, Observed)
    assert decision.evidence.n == 2


def test_a_channel_that_changes_regime_is_counted_and_the_others_are_known() -> None:
    undecided = refused(RELU, counted(RELU, [1, -1], [-1, -1], [1, 1]))
    assert "1 of 3 channels change regime (entropy 1.000 bits)" in undecided.refusal.reason
    assert "prune" in undecided.refusal.lift
    assert undecided.pieces.tolist() == [UNDECIDED, 0, 1]


def test_without_proof_it_needs_data() -> None:
    assert refused(RELU, None).refusal == NEEDS_DATA
    assert "--data" in NEEDS_DATA.lift
    assert refused(RELU, None, (1, 1, UNDECIDED)).pieces.tolist() == [1, 1, UNDECIDED]


def test_nan_observed_is_never_evidence() -> None:
    undecided = refused(RELU, with_nan(counted(RELU, [1], [1], [1]), 7))
    assert undecided.refusal.reason == "its input was NaN 7 times"
    assert decided(RELU, with_nan(counted(RELU, [1], [1], [1])), (1, 1, 1)).evidence == Proved("because")


def test_a_flat_piece_explains_no_infinity() -> None:
    """relu(-inf) is 0, and 0 * -inf is NaN; where the line is z itself nothing is lost."""
    infinite = counted(RELU, [-1, -np.inf], [1, np.inf], [-1, -2])
    undecided = refused(RELU, infinite)
    assert undecided.pieces.tolist() == [UNDECIDED, 1, 0]
    assert "1 of 3 channels are infinite" in undecided.refusal.reason


def test_channels_that_were_never_seen_are_said_to_be() -> None:
    undecided = refused(RELU, counted(RELU, [1], [], [-1]))
    assert "never seen" in undecided.refusal.reason
    assert undecided.pieces.tolist() == [1, UNDECIDED, 0]


def test_the_curved_piece_is_no_line() -> None:
    undecided = refused(HARD_SWISH, counted(HARD_SWISH, [1, 2], [4, 5], [4, 5]))
    assert "curved" in undecided.refusal.reason
    assert undecided.refusal.lift == "pay for it with --max-drop"
    assert undecided.pieces.tolist() == [UNDECIDED, 2, 2]


def test_an_asymptotic_tail_is_no_line() -> None:
    undecided = refused(GELU, counted(GELU, [5, 6], [-5, -6], [5, 9]))
    assert "only in the limit" in undecided.refusal.reason
    assert undecided.pieces.tolist() == [UNDECIDED] * 3


def test_slopes_per_channel_are_those_of_the_chosen_pieces() -> None:
    prelu = Activation(knots=(0.0,), lines=((np.array([0.1, 0.2, 0.3]), 0.0), (1.0, 0.0)), axis=1)
    decision = decided(prelu, counted(prelu, [-1], [1], [-2]))
    assert decision.slope.tolist() == [0.1, 1, 0.3]
    assert decision.axis == 1


def test_lines_of_per_channel_knots_and_intercepts() -> None:
    bounds = np.array([1.0, 2.0])
    clip = Activation(knots=(0.0, bounds), lines=((0.0, 0.0), (1.0, 0.0), (0.0, bounds)), axis=1)
    slope, intercept = lines(clip, np.array([2, 2]))
    assert (slope.tolist(), intercept.tolist()) == ([0, 0], [1, 2])


def test_no_channels_at_all_are_not_refused_for_what_they_do() -> None:
    empty = rectifier(RELU, channels=0)
    result = linearise((empty,), {}, {"y": RegimeCounts.empty(2, 1)})
    assert list(result.undecided) == ["y"]


def test_all_rectifiers_are_there_in_graph_order() -> None:
    first, second = rectifier(RELU), rectifier(RELU)
    object.__setattr__(second, "key", "second")
    result = linearise((first, second), {"second": (np.array([1, 1, 1]), "how")}, {})
    assert (list(result.decisions), list(result.undecided)) == (["second"], ["y"])
