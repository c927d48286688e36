"""What every pruning method keeps, whatever it computes; a missing row fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_nepenthe.prune.methods import METHODS, Method
from onnx_nepenthe.prune.methods.base import option_docs
from onnx_nepenthe.prune.records import Layer, Proposal
from onnx_nepenthe.regimes import RegimeCounts
from tests.helpers.pruned import context, layer


@dataclass(frozen=True)
class Row:
    """One registered method.

    Attributes:
        name: where it is registered.
        changes: what it proposes: "masks", "linear", "off".
        most: options under which it takes as much as it can.
    """

    name: str
    changes: str
    most: dict[str, Any]

    def __str__(self) -> str:
        return self.name


ROWS = (
    Row("egp", "masks linear", {"fraction": 1.0}),
    Row("nepenthe", "masks linear", {"fraction": 1.0}),
    Row("easier", "linear", {"per_round": 100}),
    Row("sap", "masks", {"eta": 1e6, "gamma": 2.0, "beta": 1.0}),
    Row("one-shot", "masks", {"sparsity": 1.0}),
    Row("gradual", "masks", {"sparsity": 1.0, "rounds": 1}),
    Row("layer-folding", "linear", {"threshold": 0.01}),
    Row("press", "", {"rounds": 1}),
    Row("tlc", "linear off", {"per_round": 100}),
    Row("fast", "linear", {"step": 1.0, "polish": 0.0}),
)
NAMES = {row.name for row in ROWS}


def test_every_method_has_a_row() -> None:
    assert set(METHODS) == NAMES


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_entry(row: Row) -> None:
    method = METHODS[row.name]
    assert method.name == row.name
    assert method.summary
    assert method.paper.startswith("arXiv ") or method.paper == "ours"
    config = method.config()
    assert is_dataclass(config)
    docs = option_docs(method.config)
    assert list(docs) == [entry.name for entry in fields(config)]
    assert all(docs.values())
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, None)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_papers_way_of_counting_is_the_default(row: Row) -> None:
    method = METHODS[row.name]
    config = method.config()
    assert getattr(config, "tie", method.tie) == method.tie
    assert getattr(config, "average", method.average) == method.average


def network(rng: np.random.Generator, size: int = 5) -> list[Layer]:
    """Layers of random sizes, masks, counts and skips; everything that any method asks for is there."""
    return [random_layer(rng, f"l{number}") for number in range(size)]


def random_layer(rng: np.random.Generator, name: str) -> Layer:
    rows, columns = rng.integers(1, 6), rng.integers(1, 9)
    mask = rng.random((rows, columns)) < rng.choice([0.0, 0.6, 1.0], p=[0.1, 0.3, 0.6])
    seen = rng.integers(0, 3, (2, rows)) * rng.integers(0, 2, (2, 1))
    ties = rng.integers(0, 2, (1, rows))
    return layer(
        name,
        rng.normal(size=(rows, columns)).round(1),
        RegimeCounts(seen, ties, np.zeros(rows), np.ones(rows)),
        mask=mask,
        has_bypass=bool(rng.integers(2)),
        is_linear=rng.random() < 0.2,
        gamma=rng.normal(size=rows),
        beta=rng.normal(size=rows),
        fold=float(rng.uniform(0, 1.2)),
        sensitivity=float(rng.normal()),
    )


def proposed(method: Method, layers: Sequence[Layer], **options: Any) -> Proposal:
    proposal = method.propose(method.config(**options), layers, context())
    assert isinstance(proposal, Proposal)
    return proposal


def check(layers: Sequence[Layer], proposal: Proposal) -> None:
    """Masks are subsets, names are known, nothing is done twice, and nothing is said to be done that goes on."""
    by_feeder = {str(one.site.feeder): one for one in layers}
    by_name = {one.site.name: one for one in layers}
    for feeder, mask in proposal.masks.items():
        assert mask.dtype == bool
        assert mask.shape == by_feeder[feeder].mask.shape
        assert not (mask & ~by_feeder[feeder].mask).any()
        assert (mask != by_feeder[feeder].mask).any()
    assert not any(by_name[name].is_linear for name in proposal.linear)
    assert len(set(proposal.linear)) == len(proposal.linear)
    for name, off in proposal.off.items():
        assert off.shape == (by_name[name].site.channels,)
    assert {note.layer for note in proposal.notes} <= {*by_name, ""}
    assert all(note.reason for note in proposal.notes)
    changes = bool(proposal.masks or proposal.linear or proposal.off)
    assert not (proposal.done and changes)


SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("row", ROWS, ids=str)
@given(seed=SEEDS)
@settings(max_examples=25)
def test_a_proposal_is_sound_and_says_what_the_method_is_for(row: Row, seed: int) -> None:
    layers = network(np.random.default_rng(seed))
    for options in ({}, row.most):
        proposal = proposed(METHODS[row.name], layers, **options)
        check(layers, proposal)
        used = {name for name in ("masks", "linear", "off") if getattr(proposal, name)}
        assert used <= set(row.changes.split())


@pytest.mark.parametrize("row", ROWS, ids=str)
@given(seed=SEEDS)
@settings(max_examples=10)
def test_it_is_pure_and_deterministic(row: Row, seed: int) -> None:
    layers, again = (network(np.random.default_rng(seed)) for _ in range(2))
    one, other = (proposed(METHODS[row.name], layers) for _ in range(2))
    assert list(one.masks) == list(other.masks)
    assert all((mask == other.masks[feeder]).all() for feeder, mask in one.masks.items())
    assert (one.linear, one.notes, one.done) == (other.linear, other.notes, other.done)
    for before, after in zip(again, layers, strict=True):
        assert (before.mask == after.mask).all()
        assert (before.weight == after.weight).all()


@pytest.mark.parametrize("row", [row for row in ROWS if "masks" in row.changes], ids=str)
@given(seed=SEEDS)
@settings(max_examples=25)
def test_the_guard_keeps_the_signal_and_no_guard_does_not(row: Row, seed: int) -> None:
    layers = network(np.random.default_rng(seed))
    proposal = proposed(METHODS[row.name], layers, **row.most)
    noted = {note.layer for note in proposal.notes}
    for one in layers:
        left = int(np.count_nonzero(proposal.masks.get(str(one.site.feeder), one.mask)))
        assert left > 0 or one.site.has_bypass or one.remaining == 0
    unguarded = proposed(METHODS[row.name], layers, **row.most, guard=False)
    assert unguarded.notes == ()
    for feeder, mask in unguarded.masks.items():
        (one,) = (x for x in layers if x.site.feeder == feeder)
        if not mask.any() and not one.site.has_bypass:
            assert one.site.name in noted


@pytest.mark.parametrize("row", [row for row in ROWS if "masks" in row.changes], ids=str)
@given(seed=SEEDS)
@settings(max_examples=10)
def test_masks_shrink_from_round_to_round(row: Row, seed: int) -> None:
    layers = network(np.random.default_rng(seed))
    for _ in range(3):
        proposal = proposed(METHODS[row.name], layers)
        check(layers, proposal)
        masks = [proposal.masks.get(str(one.site.feeder), one.mask) for one in layers]
        layers = [replace(one, mask=mask, weight=one.weight * mask) for one, mask in zip(layers, masks, strict=True)]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_layers_is_the_end(row: Row) -> None:
    proposal = proposed(METHODS[row.name], [])
    check([], proposal)
    assert (proposal.masks, proposal.linear, proposal.off) == ({}, (), {})


@given(seed=SEEDS, fraction=st.floats(0.01, 1), name=st.sampled_from(["egp", "nepenthe"]))
def test_the_whole_budget_is_spent_but_for_rounding(seed: int, fraction: float, name: str) -> None:
    """Without the guard: ζ Σ nnz over the layers with entropy, less than one weight a layer missing."""
    method, layers = METHODS[name], network(np.random.default_rng(seed))
    config = method.config(fraction=fraction, guard=False)
    masks = method.propose(config, layers, context()).masks
    has_entropy = [
        one
        for one in layers
        if not one.is_linear and (one.weight != 0).any() and one.statistics.counts.layer_entropy(config.tie) > 0
    ]
    budget = fraction * sum(one.remaining for one in has_entropy)
    spent = sum(one.remaining - int(np.count_nonzero(masks.get(str(one.site.feeder), one.mask))) for one in layers)
    assert budget - len(layers) <= spent <= budget + 1e-6
