"""Points from distances: neither luck nor the proxy alone."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.scale import FAR, STRAY, Loss, Scale


def learned(*losses: Loss) -> Scale:
    scale = Scale()
    for loss in losses:
        scale.learn(loss)
    return scale


def test_counts_that_are_noise_follow_the_distance() -> None:
    scale = learned(Loss(0.0, 1.0, 2.0, 9.0), Loss(0.0, 2.0, 4.0, 9.0))
    assert scale.slope == 0.5
    assert scale.points(Loss(0.0, -3.0, 4.0, 9.0)) == pytest.approx(2.0, abs=0.2)


def test_counts_without_noise_are_believed() -> None:
    scale = learned(Loss(0.0, 1.0, 2.0, 0.0), Loss(0.0, 2.0, 4.0, 0.0))
    assert scale.points(Loss(0.0, 3.0, 4.0, 0.0)) == 3.0
    assert scale.points(Loss(0.0, -1.0, 0.0, 0.0)) == 0.0, "never below 0"


def test_far_models_say_nothing_of_near_ones() -> None:
    near = learned(Loss(0.0, 1.0, 2.0, 0.1))
    assert learned(Loss(0.0, 1.0, 2.0, 0.1), Loss(0.0, 80.0, 2 * FAR, 0.1)).slope == near.slope
    assert learned(Loss(0.0, 80.0, 2 * FAR, 0.1)).slope == 80.0 / (2 * FAR), "better than nothing"


def test_how_far_counts_stray_is_learned() -> None:
    rng = np.random.default_rng(0)
    distances = rng.uniform(1, 10, 200)
    true = distances * (1 + 0.5 * rng.standard_normal(200))
    scale = learned(*(Loss(0.0, d, x, 1.0) for d, x in zip(true + rng.standard_normal(200), distances, strict=True)))
    assert scale.stray == pytest.approx(0.5, abs=0.1)
    assert learned(Loss(0.0, 1.0, 2.0, 1.0)).stray == STRAY[0]


def test_nothing_learned_is_no_trouble() -> None:
    assert Scale().points(Loss(0.0, 1.0, 2.0, 1.0)) == 0.0
