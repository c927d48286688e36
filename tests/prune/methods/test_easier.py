"""EASIER against numbers worked out by hand."""

from __future__ import annotations

import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.easier import EasierConfig, propose
from tests.helpers.pruned import context, counts, layer

ONES = [[1.0], [1.0]]


def test_the_mean_is_over_all_neurons() -> None:
    """(1 + 0) / 2 is less than .8113 in both; over neurons with entropy it would be more."""
    layers = [layer("a", ONES, counts([1, 1], [3, 3])), layer("b", ONES, counts([1, 0], [1, 4]))]
    proposal = propose(EasierConfig(), layers, context())
    assert proposal.linear == ("b",)
    assert proposal.line == "identity"
    assert (proposal.masks, proposal.off, proposal.done) == ({}, {}, "")
    assert propose(EasierConfig(average="non-degenerate"), layers, context()).linear == ("a",)


def test_ties_are_on() -> None:
    layers = [layer("a", ONES, counts([1, 1], [9, 9])), layer("b", ONES, counts([0, 0], [1, 1], ties=[1, 1]))]
    assert propose(EasierConfig(), layers, context()).linear == ("b",)
    assert propose(EasierConfig(tie="below"), layers, context()).linear == ("a",)


def test_the_first_of_equals_and_lines_are_passed_over() -> None:
    layers = [layer("a", ONES, is_linear=True), layer("b", ONES), layer("c", ONES)]
    assert propose(EasierConfig(), layers, context()).linear == ("b",)
    assert propose(EasierConfig(per_round=5, line="fitted"), layers, context()).linear == ("b", "c")
    assert propose(EasierConfig(per_round=5, line="fitted"), layers, context()).line == "fitted"


def test_it_ends_when_all_are_lines() -> None:
    assert propose(EasierConfig(), [layer("a", ONES, is_linear=True)], context()).done == "every activation is linear"


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="per_round is 0; give 1 or more"):
        EasierConfig(per_round=0)
