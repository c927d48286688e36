"""How one training goes."""

from __future__ import annotations

from typing import Any

import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.recipe import Recipe


def test_the_rate_falls_by_steps() -> None:
    recipe = Recipe(epochs=160, lr=0.1)
    rates = [recipe.rate(epoch) for epoch in (0, 79.9, 80, 119.9, 120, 160)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_rate_rises_then_falls_along_a_cosine_to_zero() -> None:
    recipe = Recipe(epochs=10, lr=2.0, schedule="cosine", warm_up=1)
    assert recipe.rate(0) == 0
    assert recipe.rate(5) == pytest.approx(1.0)
    assert recipe.rate(10) == pytest.approx(0.0)
    assert recipe.rate(0.5) < recipe.rate(1)


def test_a_constant_rate_is_constant() -> None:
    assert {Recipe(epochs=3, schedule="constant", lr=0.5).rate(epoch) for epoch in (0, 1, 2.9)} == {0.5}


def test_a_fine_tuning_is_short_and_keeps_the_rest() -> None:
    short = Recipe(epochs=160, lr=0.1, batch=32, seed=5).short(4, 0.2)
    assert (short.epochs, short.batch, short.seed, short.schedule) == (4, 32, 5, "cosine")
    assert short.rate(0.2) == pytest.approx(0.02, rel=0.01)
    assert short.rate(4) == 0


def test_norms_are_frozen_in_the_last_share_of_a_training() -> None:
    assert not any(Recipe(epochs=10).is_frozen(epoch) for epoch in (0, 5, 9.99))
    assert [Recipe(epochs=10, frozen=0.25).is_frozen(epoch) for epoch in (0, 7.4, 7.5, 9.99)] == [False] * 2 + [
        True
    ] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be above 0"),
        ({"lr": float("nan")}, "lr is nan; it must be above 0"),
        ({"weight_decay": -1}, "weight_decay is -1; it must be 0 or more"),
        ({"smoothing": 1.0}, "smoothing is 1.0"),
        ({"frozen": 1.0}, "frozen is 1.0; it must be at least 0 and below 1"),
        ({"vectors": 0}, "vectors is 0; it must be above 0"),
        ({"clip": 0.0}, "clip is 0.0; it must be above 0"),
        ({"milestones": (80, 120)}, "shares of the training"),
        ({"epochs": 2, "warm_up": 3}, "warm_up is 3 of 2 epochs"),
        ({"batch": 2, "accumulate": 4}, "a batch of 2 cannot be computed in 4 parts"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**options)
