"""Layer Folding: who is folded."""

from __future__ import annotations

import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.layer_folding import LayerFoldingConfig, propose
from tests.helpers.pruned import context, layer


def test_all_that_have_reached_the_threshold_at_once() -> None:
    layers = [layer(name, [[1.0]], fold=fold) for name, fold in zip("abcd", (0.9, 0.89, 1.2, -1.0), strict=True)]
    proposal = propose(LayerFoldingConfig(), [*layers, layer("e", [[1.0]])], context())
    assert (proposal.linear, proposal.line, proposal.done) == (("a", "c"), "identity", "")
    assert propose(LayerFoldingConfig(threshold=0.5), layers, context()).linear == ("a", "b", "c")


def test_it_ends_when_none_has() -> None:
    layers = [layer("a", [[1.0]], fold=0.99, is_linear=True), layer("b", [[1.0]], fold=0.2)]
    assert propose(LayerFoldingConfig(), layers, context()).done == "no activation is 0.9 identity"


def test_the_papers_strength() -> None:
    assert LayerFoldingConfig().strength == 0.25


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"strength": -1.0}, "strength is -1; give 0 or more"),
        ({"threshold": 0.0}, "threshold is 0; give a share above 0 and up to 1"),
    ],
)
def test_wrong_options(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        LayerFoldingConfig(**options)
