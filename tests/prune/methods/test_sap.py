"""SAP against numbers worked out by hand; the PQ index is tested beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.sap import SapConfig, propose
from tests.helpers.pruned import context, gone, layer

WEIGHT = np.array([[4.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
"""Rows: I = .75, so that 3 of 4 can go; I = 0, so that none can. Both: 1 - 6² / (8 · 8) = .4375: floor(3.5) = 3."""


def masks_of(weight: np.ndarray, **options: Any) -> list[list[bool]]:
    return propose(SapConfig(**options), [layer("a", weight)], context()).masks["a.feeder"].tolist()


def test_in_each_neuron() -> None:
    assert masks_of(WEIGHT, scope="neuron") == [[True, False, False, False], [True] * 4]


def test_in_a_layer() -> None:
    assert masks_of(WEIGHT) == [[True, False, False, False], [True] * 4]
    assert masks_of(WEIGHT, beta=0.25) == [[True, False, False, True], [True] * 4]


def test_over_the_network() -> None:
    """All 12: 1 - 10² / (12 · 24) = .6528: floor(7.83) = 7."""
    layers = [layer("a", WEIGHT), layer("b", np.array([[0.0, 0.0, 0.0, 16.0]]))]
    assert [gone(one, propose(SapConfig(scope="global"), layers, context()).masks) for one in layers] == [4, 3]
    assert [gone(one, propose(SapConfig(), layers, context()).masks) for one in layers] == [3, 3]


def test_a_second_round_looks_at_what_is_left() -> None:
    """1 and 4 are left of the row: I = 1 - 9 / 10, and floor(.2) = 0 of 2 can go."""
    mask = np.array([[True, True, False, False]])
    proposal = propose(SapConfig(), [layer("a", [[1.0, 4.0, 0.0, 0.0]], mask=mask)], context())
    assert proposal.done == "every weight that is left is needed"
    assert proposal.masks == {}


def test_beta_lets_no_layer_go_and_the_guard_none_of_the_path() -> None:
    """All weights count as not needed for η = 9: (1 + 9)^-2 = .01."""
    weight = np.full((1, 10), 2.0)
    assert gone(layer("a", weight), propose(SapConfig(eta=9.0), [layer("a", weight)], context()).masks) == 9
    unguarded = SapConfig(eta=9.0, gamma=2.0, beta=1.0)
    for bypass, left in ((True, 0), (False, 1)):
        one = layer("a", weight, has_bypass=bypass)
        proposal = propose(unguarded, [one], context())
        assert one.remaining - gone(one, proposal.masks) == left
        assert len(proposal.notes) == left


def test_nothing_to_prune() -> None:
    assert propose(SapConfig(scope="global"), [], context()).done == "every weight that is left is needed"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"p": 1.0}, "p is 1 and q 1; give 0 < p < q"),
        ({"p": 0.0}, "p is 0 and q 1; give 0 < p < q"),
        ({"eta": -1.0}, "eta is -1; give a number above -1"),
        ({"gamma": 0.0}, "gamma is 0; give a number above 0"),
        ({"beta": 1.5}, "beta is 1.5; give a share above 0 and up to 1"),
    ],
)
def test_wrong_options(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        SapConfig(**options)  # type: ignore[arg-type]
