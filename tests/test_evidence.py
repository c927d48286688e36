"""What observation is worth: bounds per channel, for a layer, by samples, and what a bound would take."""

import math

import numpy as np
import pytest

from onnx_nepenthe.evidence import Observed, observations_for, rate_bound, union_bound


def test_rule_of_three_covers_the_exact_bound() -> None:
    """(1 - p)^n = 0.05 gives the exact bound p = 1 - 0.05^(1/n)."""
    for n in (1, 3, 10, 1000, 10**6):
        exact = 1 - 0.05 ** (1 / n)
        assert exact <= rate_bound(n)
        assert n < 10 or rate_bound(n) <= 1.2 * exact


def test_union_bound_holds_for_all_channels_together() -> None:
    """Each of 64 rates is at most ln(64/0.05)/n except with probability 0.05/64."""
    n, channels = 10_000, 64
    each = math.log(channels / 0.05) / n
    assert union_bound(n, channels) == pytest.approx(channels * each)
    assert (1 - each) ** n <= 0.05 / channels


def test_bounds_of_an_observation() -> None:
    seen = Observed(n=196_000, samples=1000, channels=8)
    assert seen.bound == pytest.approx(3 / 196_000)
    assert seen.bound_by_samples == pytest.approx(0.003)
    assert seen.layer_bound == union_bound(196_000, 8)
    assert seen.layer_bound_by_samples == union_bound(1000, 8)
    assert seen.bound < seen.layer_bound < seen.layer_bound_by_samples
    assert Observed(5).bound_by_samples == 1.0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_no_bound_exceeds_one(n: int) -> None:
    assert rate_bound(n) == 1.0
    assert union_bound(n, 4) == 1.0


@pytest.mark.parametrize("rate", [0.3, 1e-2, 1e-4, 7.3e-5])
def test_observations_for_a_rate_support_it(rate: float) -> None:
    n = observations_for(rate)
    assert rate_bound(n) <= rate * (1 + 1e-9)
    assert rate_bound(n - 1) > rate


def test_the_bound_covers_correlated_positions() -> None:
    """Flips come in whole images: counting positions as independent would be wrong, counting images is not."""
    rng = np.random.default_rng(0)
    samples, positions, rate = 100, 49, 0.02
    silent = sum(not (rng.random(samples) < rate).any() for _ in range(2000)) / 2000
    assert silent > 0.05, "a data set without a flip is quite possible at this rate"
    assert (
        Observed(samples * positions, samples).bound < rate <= Observed(samples * positions, samples).bound_by_samples
    )
