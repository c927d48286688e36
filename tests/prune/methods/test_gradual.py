"""Gradual pruning against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.gradual import GradualConfig, propose, sparsity_after
from onnx_nepenthe.prune.methods.one_shot import OneShotConfig
from onnx_nepenthe.prune.methods.one_shot import propose as propose_at_once
from tests.helpers.pruned import context, layer

Schedule = Literal["iterative", "cubic"]


def test_cubic_by_hand() -> None:
    """s_f (1 - (1 - t/4)³) for s_f = .64: 1 - 27/64, 1 - 8/64, 1 - 1/64 and 1 of it."""
    config = GradualConfig(sparsity=0.64, rounds=4, schedule="cubic")
    assert [sparsity_after(config, t) for t in range(5)] == pytest.approx([0, 0.37, 0.56, 0.63, 0.64])


def test_iterative_by_hand() -> None:
    """Half of what is left, three times."""
    config = GradualConfig(sparsity=0.875, rounds=3)
    assert [sparsity_after(config, t) for t in range(4)] == pytest.approx([0, 0.5, 0.75, 0.875])


@pytest.mark.parametrize("schedule", ["iterative", "cubic"])
def test_it_ends_where_one_shot_does(schedule: Schedule) -> None:
    """With weights that do not change the masks are the same, to the last weight."""
    weight = np.random.default_rng(0).normal(size=(30, 33))
    one = layer("a", weight)
    config = GradualConfig(sparsity=0.873, rounds=7, schedule=schedule)
    sizes = [one.remaining]
    for number in range(1, 8):
        mask = propose(config, [one], context(number)).masks["a.feeder"]
        one = replace(one, mask=mask, weight=weight * mask)
        sizes.append(one.remaining)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == weight.size - round(0.873 * weight.size)
    at_once = propose_at_once(OneShotConfig(sparsity=0.873), [layer("a", weight)], context())
    assert (one.mask == at_once.masks["a.feeder"]).all()
    assert propose(config, [one], context(8)).done == "all 7 steps are done"


def test_everything() -> None:
    config = GradualConfig(sparsity=1.0, rounds=2)
    assert [sparsity_after(config, t) for t in range(3)] == [0, 1, 1]


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="rounds is 0; give 1 or more"):
        GradualConfig(rounds=0)
    with pytest.raises(UsageError, match="sparsity is 0; give a share"):
        GradualConfig(sparsity=0)
