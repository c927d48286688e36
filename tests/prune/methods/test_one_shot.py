"""One-shot pruning against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.one_shot import OneShotConfig, propose
from onnx_nepenthe.prune.records import Layer
from tests.helpers.pruned import context, gone, layer


def two(**site: bool) -> list[Layer]:
    """12 small weights and 8 large ones."""
    return [layer("a", np.arange(1.0, 13.0).reshape(3, 4), **site), layer("b", -np.arange(13.0, 21.0).reshape(2, 4))]


def test_over_the_network_and_in_each_layer() -> None:
    layers = two()
    masks = propose(OneShotConfig(sparsity=0.75), layers, context()).masks
    assert [gone(one, masks) for one in layers] == [12, 3]
    masks = propose(OneShotConfig(sparsity=0.75, scope="layer"), layers, context()).masks
    assert [gone(one, masks) for one in layers] == [9, 6]
    assert np.flatnonzero(~masks["b.feeder"]).tolist() == [0, 1, 2, 3, 4, 5]


def test_what_is_gone_counts() -> None:
    one = layer("a", np.arange(1.0, 11.0), mask=np.arange(10)[None] % 2 == 0)
    assert gone(one, propose(OneShotConfig(sparsity=0.7), [one], context()).masks) == 2
    assert propose(OneShotConfig(sparsity=0.4), [one], context()).masks == {}


def test_the_guard() -> None:
    layers = two(has_bypass=False)
    proposal = propose(OneShotConfig(sparsity=0.75), layers, context())
    assert [gone(one, proposal.masks) for one in layers] == [11, 3]
    assert [note.layer for note in proposal.notes] == ["a"]
    paper = propose(OneShotConfig(sparsity=0.75, guard=False), layers, context())
    assert [gone(one, paper.masks) for one in layers] == [12, 3]
    assert paper.notes == ()


def test_once() -> None:
    assert propose(OneShotConfig(), two(), context(2)).done == "the target was reached in one step"


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="sparsity is 90; give a share above 0 and up to 1"):
        OneShotConfig(sparsity=90)
