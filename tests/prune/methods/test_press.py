"""Pressing: which activations, how long, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.press import PressConfig, check, propose
from onnx_nepenthe.prune.records import Layer
from tests.helpers.pruned import context, counts, layer

ONES = [[1.0], [1.0]]
HALF, QUARTER, NONE = counts([2, 2], [2, 2]), counts([1, 1], [3, 3]), counts([0, 4], [4, 0])


def layers() -> list[Layer]:
    return [layer("block1_act", ONES, HALF, label="block1.act"), layer("block2_act", ONES, QUARTER, label="block2.act")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"block1_act", "block2_act"}),
        ({"layers": 1}, {"block2_act"}),
        ({"sites": "block1.*"}, {"block1_act"}),
        ({"sites": "block1_act, block2.act"}, {"block1_act", "block2_act"}),
        ({"sites": "block*", "layers": 1}, {"block2_act"}),
    ],
)
def test_which_are_pressed(options: dict[str, Any], expected: set[str]) -> None:
    proposal = propose(PressConfig(**options), layers(), context())
    assert proposal.tuning is not None
    assert set(proposal.tuning.press) == expected
    assert (proposal.masks, proposal.linear, proposal.off, proposal.done) == ({}, (), {}, "")


def test_how_they_are_trained() -> None:
    config = PressConfig(epochs=1.5, rate=0.5, weight=0.1, start=0.01, margin=2.0, frozen=0.3)
    tuning = propose(config, layers(), replace(context(), dense_epochs=20.0)).tuning
    assert tuning is not None
    assert (tuning.epochs, tuning.scale, tuning.frozen) == (30.0, 0.5, 0.3)
    assert tuning.pressure is not None
    assert (tuning.pressure.weight, tuning.pressure.start, tuning.pressure.margin) == (0.1, 0.01, 2.0)
    assert (tuning.pressure.surrogate, tuning.pressure.off_share) == ("hinge", 0.85)


def test_it_ends_when_those_that_are_pressed_have_no_entropy_or_its_trainings_are_done() -> None:
    settled = [layer("a", ONES, NONE), layer("b", ONES, HALF)]
    assert propose(PressConfig(sites="a"), settled, context()).done == "1 activations are at zero entropy"
    assert propose(PressConfig(), settled, context()).tuning is not None
    assert propose(PressConfig(), settled, context(2)).done == "all 1 trainings under pressure are done"
    assert propose(PressConfig(rounds=2), settled, context(2)).tuning is not None


def test_lines_are_not_pressed() -> None:
    lines = [replace(one, is_linear=True) for one in layers()]
    assert propose(PressConfig(), lines, context()).done == "no activation is left to press"
    proposal = propose(PressConfig(), [lines[0], layers()[1]], context())
    assert proposal.tuning is not None
    assert proposal.tuning.press == ("block2_act",)


def test_a_name_that_fits_nothing() -> None:
    sites = [one.site for one in layers()]
    check(PressConfig(sites="block1.act,block2_act,*"), sites)
    with pytest.raises(UsageError, match=r"no activation is called 'stem\.\*'; there are block1\.act, block2\.act"):
        check(PressConfig(sites="block1.act,stem.*"), sites)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": -1}, "layers is -1"),
        ({"rounds": 0}, "rounds is 0; give 1 or more"),
        ({"epochs": 0.0}, "epochs and rate must be above 0"),
        ({"sites": " , "}, "sites is empty"),
        ({"frozen": 1.0}, "frozen is 1.0"),
        ({"weight": 0.0}, "weight, layers, temperature and margin must be above 0"),
        ({"start": 0.0}, "start is 0.0; it must be above 0 and at most 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PressConfig(**options)
