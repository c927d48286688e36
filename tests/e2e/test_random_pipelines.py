"""Random graphs through the whole pipeline, with and without data: a result that passed, or one clear line."""

from __future__ import annotations

import random

import numpy as np
import pytest

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.sources import SourceOptions
from tests.helpers.build import Array
from tests.helpers.check_random import draw_sample
from tests.helpers.collapsing import collapse
from tests.helpers.random_graphs import Sample
from tests.helpers.random_operators import OLDER

ONCE_WRONG = {286: "a BatchNormalization of opset 9 in double, which only onnx.reference runs, and wrongly"}
"""Seeds that found an error, and which."""


def data(sample: Sample, seed: int) -> list[dict[str, Array]]:
    """Complete feeds, as the sizes of some graphs fit one batch only."""
    rng = np.random.default_rng(seed)

    def drawn(name: str, like: Array) -> Array:
        low, high = sample.ranges.get(name, (-2.0, 2.0))
        return rng.uniform(low, high, like.shape).astype(like.dtype)

    return [{name: drawn(name, like) for name, like in sample.feeds[0].items()} for _ in range(6)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("latency", ["off", "macs"])
@pytest.mark.parametrize("seed", [*range(12), *ONCE_WRONG])
def test_a_random_graph(seed: int, latency: str) -> None:
    sample = draw_sample(random.Random(seed))
    feeds = data(sample, seed)
    try:
        outcome = collapse(
            sample.model,
            latency=latency,
            data=feeds,
            input_ranges=sample.ranges,
            source=SourceOptions(whole_feeds=True),
            prove_budget_s=0.0,
        )
    except UnsupportedError as error:
        line = str(error)
        outcome = None
    if outcome is None:
        assert "\n" not in line
        return
    assert outcome.verdict is None or outcome.verdict.passed
    assert outcome.is_collapsed == (outcome.verdict is not None)
    assert outcome.is_collapsed or not outcome.rewrites


@pytest.mark.parametrize("seed", ONCE_WRONG)
def test_graphs_that_were_wrong_once(seed: int) -> None:
    sample = draw_sample(random.Random(seed), OLDER)
    outcome = collapse(sample.model, input_ranges=sample.ranges)
    assert outcome.verdict is not None
    assert outcome.verdict.passed
