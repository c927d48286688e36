"""EGP against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.egp import EgpConfig, mean_magnitude, propose
from onnx_nepenthe.prune.records import Layer
from tests.helpers.pruned import RELU, SMOOTH, context, counts, gone, layer

PAPER = EgpConfig(guard=False, linearise=False)


def three() -> list[Layer]:
    """H = 1 everywhere; mean |w| is 1, 1, 2 and there are 2, 10, 12 weights."""
    second = np.linspace(0.1, 1.9, 10).reshape(2, 5)
    return [layer("a", [[0.5, -1.5]]), layer("b", second), layer("c", np.full((3, 4), -2.0))]


def test_a_budget_shared_out_by_hand() -> None:
    """B = 12 is shared out as in test_allotment: 2 (all of a), 8, 1."""
    layers = three()
    masks = propose(PAPER, layers, context()).masks
    assert [gone(one, masks) for one in layers] == [2, 8, 1]
    assert np.flatnonzero(masks["b.feeder"]).tolist() == [8, 9]
    assert np.flatnonzero(~masks["c.feeder"]).tolist() == [0]


def test_low_entropy_draws_the_budget() -> None:
    """E = H · mean |w|: H(1/4) = 0.8113 against 1, R = 2.2326, 1.8113, softmax .6038, .3962 of B = 10."""
    weight = np.arange(1.0, 11.0)
    layers = [layer("a", [weight], counts([1], [3])), layer("b", [weight])]
    assert [gone(one, propose(PAPER, layers, context()).masks) for one in layers] == [6, 3]


def test_ties_are_off() -> None:
    """Never below zero, but one of two observations on it: H = 1 as in the paper, 0 where ties are dropped."""
    one = layer("a", np.ones((1, 4)), counts([0], [1], ties=[1]))
    assert gone(one, propose(PAPER, [one], context()).masks) == 2
    assert propose(replace(PAPER, tie="drop"), [one], context()).done == "no layer has both entropy and weights left"


def test_magnitude_is_of_weights_that_are_not_zero() -> None:
    assert mean_magnitude(layer("a", [[1.0, -3.0, 0.0, 9.0]], mask=np.array([[True, True, True, False]]))) == 2
    assert mean_magnitude(layer("a", [[0.0, 0.0]])) == 0


def test_layers_without_entropy_keep_their_weights_and_give_none() -> None:
    """B = ζ Σ nnz over the others: 5 of 10, not 9 of 18."""
    settled = layer("a", np.ones((1, 8)), counts([0], [2]))
    other = layer("b", np.ones((2, 5)))
    masks = propose(PAPER, [settled, other], context()).masks
    assert [gone(one, masks) for one in (settled, other)] == [0, 5]


def test_layers_whose_weights_are_all_zero_add_nothing_to_the_budget() -> None:
    """nnz = 0 leaves the sum and the softmax: B is 5 of 10, not 9 of 18."""
    blank = layer("a", np.zeros((2, 4)))
    other = layer("b", np.ones((2, 5)))
    masks = propose(PAPER, [blank, other], context()).masks
    assert [gone(one, masks) for one in (blank, other)] == [0, 5]


def test_layers_at_zero_entropy_become_lines() -> None:
    settled = layer("a", np.ones((2, 4)), counts([0, 2], [2, 0]))
    proposal = propose(EgpConfig(), [settled, layer("b", np.ones((1, 4)))], context())
    assert proposal.linear == ("a",)
    assert proposal.line == "fitted"
    assert propose(EgpConfig(linearise=False), [settled], context()).linear == ()


@pytest.mark.parametrize(
    "seen",
    [
        counts([0, 0], [2, 0]),
        counts([0, 0], [2, 2], nonfinite=1),
        counts([0, 1], [2, 10**15]),
    ],
    ids=["a channel never seen", "NaN", "one in 10^15"],
)
def test_what_is_not_zero_entropy(seen: object) -> None:
    one = layer("a", np.ones((2, 4)), seen)  # type: ignore[arg-type]
    assert propose(EgpConfig(), [one], context()).linear == ()


def test_a_line_is_not_made_twice_and_not_pruned() -> None:
    one = layer("a", np.ones((1, 4)), counts([0], [2]), is_linear=True)
    other = layer("b", np.ones((1, 4)), is_linear=True)
    proposal = propose(EgpConfig(), [one, other], context())
    assert (proposal.linear, proposal.masks) == ((), {})
    assert proposal.done == "no layer has both entropy and weights left"


def test_a_curved_piece_alone_is_no_zero_entropy_but_a_sign_is() -> None:
    """All z of a Gelu between its tails: one regime, but no line; the papers look at the sign."""
    within = counts([0], [8], [0]), counts([0], [8])
    one = layer("a", np.ones((1, 4)), within[0], activation=SMOOTH)
    assert propose(EgpConfig(), [one], context()).linear == ()
    signed = layer("a", np.ones((1, 4)), within[0], activation=SMOOTH, signs=within[1])
    assert propose(EgpConfig(), [signed], context()).linear == ("a",)
    both = layer("a", np.ones((1, 4)), within[0], activation=SMOOTH, signs=counts([4], [4]))
    proposal = propose(EgpConfig(guard=False), [both], context())
    assert (proposal.linear, gone(both, proposal.masks)) == ((), 2)
    assert RELU.lines[0] is not None


def test_the_guard_keeps_the_signal_path() -> None:
    """As in `three`, but nothing goes around a: 1 of its 2 weights stays, and the rest goes to b and c.

    B = 12 - 1 = 11, shares .81757 and .18243: 8.99, 2.007.
    """
    layers = [layer("a", [[0.5, -1.5]], has_bypass=False), *three()[1:]]
    proposal = propose(EgpConfig(), layers, context())
    assert [gone(one, proposal.masks) for one in layers] == [1, 8, 2]
    (note,) = proposal.notes
    assert (note.layer, note.reason) == ("a", "no signal gets around it: 1 of 2 weights stay (guard)")


def test_the_guard_leaves_the_last_layer_of_the_path_alone() -> None:
    layers = [layer("a", np.ones((2, 5))), layer("b", np.full((1, 4), 0.01), has_bypass=False)]
    proposal = propose(EgpConfig(), layers, context())
    assert [gone(one, proposal.masks) for one in layers] == [5, 0]
    (note,) = proposal.notes
    assert (note.layer, note.reason) == ("b", "the last layer of the signal path is not pruned (guard)")
    assert not propose(EgpConfig(guard=False), layers, context()).masks["b.feeder"].any()


def test_all_layers_full_under_the_guard() -> None:
    """Half of each must stay: B = 20 · 0.9 = 18 finds room for 10; the last layer is free of it."""
    layers = [layer(name, np.ones((2, 5)), has_bypass=False) for name in "ab"] + [layer("c", [[0.0]])]
    proposal = propose(EgpConfig(fraction=0.9, floor=0.5), layers, context())
    assert [gone(one, proposal.masks) for one in layers] == [5, 5, 0]
    assert [note.layer for note in proposal.notes] == ["a", "b", ""]
    assert proposal.notes[-1].reason == "8 weights of the budget stay: no layer has room for them (guard)"


def test_sap_may_set_the_fraction() -> None:
    """One large weight of four: the PQ index is .75, 3 of 4 can go. Four equal ones: none. B = 3 is shared out."""
    layers = [layer("a", [[0.0, 0.0, 4.0, 0.0]]), layer("b", np.full((1, 4), 4.0))]
    proposal = propose(EgpConfig(fraction="sap", guard=False), layers, context())
    assert [gone(one, proposal.masks) for one in layers] == [1, 1]


@pytest.mark.parametrize(
    ("layers", "config", "why"),
    [
        ([], EgpConfig(), "no layer has both entropy and weights left"),
        ([layer("a", [[1.0]], has_bypass=False)], EgpConfig(), "the guard leaves nothing to prune"),
        ([layer("a", [[1.0]])], EgpConfig(), "the budget is less than one weight a layer"),
    ],
)
def test_when_it_is_done(layers: list[Layer], config: EgpConfig, why: str) -> None:
    assert propose(config, layers, context()).done == why


def test_rounds() -> None:
    assert propose(EgpConfig(), three(), context(9)).done == ""
    assert propose(EgpConfig(), three(), context(10)).done == "all 9 rounds are over"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"fraction": 0.0}, "fraction is 0.0; give a share above 0 and up to 1, or 'sap'"),
        ({"fraction": "half"}, "fraction is 'half'; give a share above 0 and up to 1, or 'sap'"),
        ({"floor": 1.0}, "floor is 1; give a share from 0 up to"),
        ({"rounds": 0}, "rounds is 0; give 1 or more"),
    ],
)
def test_wrong_options(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint.replace("(", r"\(")):
        EgpConfig(**options)  # type: ignore[arg-type]
