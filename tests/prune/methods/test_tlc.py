"""TLC against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.tlc import TlcConfig, propose, share_off
from onnx_nepenthe.prune.records import Layer
from tests.helpers.pruned import context, layer


def normed(name: str, beta: list[float], cost: float | None, **changes: object) -> Layer:
    weight, gamma = np.ones((len(beta), 2)), np.full(len(beta), -2.0)
    return layer(name, weight, gamma=gamma, beta=np.array(beta), sensitivity=cost, **changes)


def test_share_off_by_hand() -> None:
    """Φ(-1) = .158655, Φ(1.96) = .975002; the sign of γ does not matter."""
    found = share_off(np.array([2.0, -1.0, 3.0, 0.0, 0.0, 0.0]), np.array([2.0, -1.96, 0.0, 1.0, -1.0, 0.0]))
    assert found.tolist() == pytest.approx([0.1586552539, 0.9750021049, 0.5, 0, 1, 1])


def test_the_cheapest_goes_with_its_off_channels() -> None:
    layers = [normed("a", [1.0, -1.0], 0.5), normed("b", [1.0, -1.0, 0.0], -0.1), normed("c", [2.0], 0.7)]
    proposal = propose(TlcConfig(), layers, context())
    assert (proposal.linear, proposal.line) == (("b",), "identity")
    assert {name: off.tolist() for name, off in proposal.off.items()} == {"b": [False, True, True]}
    assert propose(TlcConfig(per_round=2), layers, context()).linear == ("b", "a")


def test_channels_that_are_all_on_need_no_mask() -> None:
    assert propose(TlcConfig(), [normed("a", [2.0, 1.0], 0.0)], context()).off == {}


def test_the_guard_keeps_a_layer_that_would_be_all_zero() -> None:
    layers = [normed("a", [-1.0, -1.0], 0.0), normed("b", [1.0], 1.0)]
    proposal = propose(TlcConfig(), layers, context())
    assert proposal.linear == ("b",)
    assert [(note.layer, note.reason) for note in proposal.notes] == [
        ("a", "all its channels would be 0: it stays (guard)")
    ]
    paper = propose(TlcConfig(guard=False), layers, context())
    assert paper.linear == ("a",)
    assert paper.off["a"].all()
    assert paper.notes == ()


def test_layers_it_cannot_judge() -> None:
    layers = [layer("a", [[1.0]], sensitivity=0.0), normed("b", [1.0], None), normed("c", [1.0], 0.0, is_linear=True)]
    proposal = propose(TlcConfig(), layers, context())
    assert proposal.linear == ()
    assert proposal.done == "no activation with a batch norm and a known sensitivity is left"
    assert [(note.layer, note.reason) for note in proposal.notes] == [("a", "no batch norm before it")]


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="per_round is 0; give 1 or more"):
        TlcConfig(per_round=0)
