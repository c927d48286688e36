"""The fast schedule: what it proposes after what has happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods import Context
from onnx_nepenthe.prune.methods.fast import FastConfig, propose, ranked, span
from onnx_nepenthe.prune.records import Attempt, Layer
from tests.helpers.pruned import counts, layer

NAMES = "abcdefgh"
CONFIG = FastConfig(polish=0.0)


def layers(linear: str = "", sites: str = NAMES) -> list[Layer]:
    """Each costs more than the one before it."""
    return [
        layer(name, [[1.0]], counts([50], [50]), sensitivity=float(at), is_linear=name in linear)
        for at, name in enumerate(sites)
    ]


def knowing(*history: Attempt, spent: float = 100.0) -> Context:
    return Context(len(history) + 1, 50, np.random.default_rng(0), dense_epochs=100.0, spent=spent, history=history)


def held(*names: str) -> Attempt:
    return Attempt(names, True, 0.9, 10.0)


def fell(*names: str, missing: float = 0.1, continues: bool = False) -> Attempt:
    return Attempt(names, False, 0.8, 10.0, missing, continues=continues)


def test_half_of_the_way_goes_first_the_cheapest() -> None:
    proposal = propose(CONFIG, layers(), knowing())
    assert proposal.linear == tuple("abcd")
    assert proposal.line == "fitted"
    assert (proposal.masks, proposal.done, proposal.continues, proposal.polishes) == ({}, "", False, False)


def test_the_next_candidates_are_pressed_and_the_dense_network_teaches() -> None:
    tuning = propose(CONFIG, layers(), knowing()).tuning
    assert tuning is not None
    assert tuning.press == tuple("ef")
    assert tuning.pressure is not None
    assert tuning.distillation is not None
    plain = propose(FastConfig(pressure=0, distillation=0), layers(), knowing()).tuning
    assert plain is not None
    assert (plain.pressure, plain.distillation) == (None, None)


def test_what_is_left_of_the_budget_is_shared_out_among_the_rounds_to_come() -> None:
    """Nine depths (0 … 8) in question: log2 9, rounded up, and one more."""
    tuning = propose(CONFIG, layers(), knowing()).tuning
    assert tuning is not None
    assert tuning.epochs == pytest.approx(100 / 5)
    kept = propose(FastConfig(polish=0.5), layers(), knowing()).tuning
    assert kept is not None
    assert kept.epochs == pytest.approx(50 / 5)


@pytest.mark.parametrize(
    ("history", "linear", "expected"),
    [
        ([held(*"abcd")], "abcd", "ef"),
        ([fell(*"abcd")], "", "ab"),
        ([fell(*"abcd"), held(*"ab")], "ab", "c"),
        ([held(*"abcd"), fell(*"ef")], "abcd", "e"),
        ([fell(*"abcd"), fell(*"ab")], "", "a"),
    ],
)
def test_depth_is_found_by_bisection(history: list[Attempt], linear: str, expected: str) -> None:
    assert propose(CONFIG, layers(linear), knowing(*history)).linear == tuple(expected)


def test_what_failed_counts_until_the_network_is_deeper_than_that() -> None:
    """4 failed, 2 and then 3 held: one more would be the 4 that failed; beyond, nothing is known."""
    history = [fell(*"abcd"), held(*"ab"), held("c")]
    assert span(layers("abc"), knowing(*history)).failed == 4
    assert propose(CONFIG, layers("abc"), knowing(*history)).linear == ("d",)
    deeper = [*history, held("d")]
    assert span(layers("abcd"), knowing(*deeper)).failed == 9
    assert propose(CONFIG, layers("abcd"), knowing(*deeper)).linear == ("e", "f")


def test_lines_that_were_there_before_count_as_held() -> None:
    found = span(layers("ab"), knowing(fell(*"cde")))
    assert (found.held, found.failed) == (2, 5)


def test_a_narrow_failure_is_trained_on_while_that_helps() -> None:
    narrow = fell(*"abcd", missing=0.008)
    again = propose(CONFIG, layers(), knowing(narrow))
    assert (again.linear, again.continues) == (tuple("abcd"), True)
    assert again.tuning is not None
    assert again.tuning.epochs == 10
    assert again.tuning.press == tuple("ef")
    better, worse = (fell(*"abcd", missing=missing, continues=True) for missing in (0.004, 0.009))
    assert propose(CONFIG, layers(), knowing(narrow, better)).continues
    assert propose(CONFIG, layers(), knowing(narrow, worse)).linear == ("a", "b")
    last = fell(*"abcd", missing=0.001, continues=True)
    assert not propose(CONFIG, layers(), knowing(narrow, better, last)).continues
    assert not propose(replace(CONFIG, extensions=0), layers(), knowing(narrow)).continues
    assert not propose(CONFIG, layers(), knowing(fell(*"abcd", missing=0.011))).continues


def test_single_activations_are_tried_one_after_another() -> None:
    config = replace(CONFIG, tries=2)
    assert propose(config, layers(), knowing(fell(*"ab"), fell("a"))).linear == ("b",)
    both = propose(config, layers(), knowing(fell(*"ab"), fell("a"), fell("b")))
    assert both.done == "none of 2 single activations could go"


def test_no_more_go_than_were_asked_for() -> None:
    config = replace(CONFIG, depth=3)
    assert propose(config, layers(), knowing()).linear == tuple("abc"), "not the four that bisection would take"
    assert propose(config, layers(), knowing(fell(*"abc"))).linear == ("a",)
    assert propose(config, layers("a"), knowing(fell(*"abc"), held("a"))).linear == ("b",)
    end = propose(config, layers("abc"), knowing(held(*"abc")))
    assert end.polishes
    assert end.tuning is not None
    assert end.tuning.epochs == pytest.approx(100), "what is left improves the network that is there"
    done = propose(config, layers("abc"), knowing(held(*"abc"), Attempt((), True, 0.9, 90.0), spent=200.0))
    assert done.done == "the budget of 2 dense trainings is spent"
    early = propose(config, layers("abc"), knowing(held(*"abc"), Attempt((), True, 0.9, 20.0), spent=130.0))
    assert early.done == "3 activations are lines, as many as were asked for"


def test_the_budget_is_never_exceeded() -> None:
    tuning = propose(CONFIG, layers(), knowing(held(*"abcd"), spent=193.0)).tuning
    assert tuning is not None
    assert tuning.epochs == 5
    few = propose(CONFIG, layers("abcd"), knowing(held(*"abcd"), spent=196.0))
    assert few.done == "the budget of 2 dense trainings is spent"
    assert propose(CONFIG, layers(), knowing(spent=200.0)).done


def test_what_is_left_at_the_end_polishes_once() -> None:
    every = layers(NAMES)
    polish = propose(FastConfig(), every, knowing(held(*NAMES), spent=150.0))
    assert polish.polishes
    assert polish.linear == ()
    assert polish.tuning is not None
    assert (polish.tuning.epochs, polish.tuning.press) == (50, ())
    again = propose(FastConfig(), every, knowing(held(*NAMES), Attempt((), True, 0.9, 20.0), spent=170.0))
    assert again.done == "no activation is left to try"


def test_the_share_for_polishing_is_kept() -> None:
    polish = propose(FastConfig(polish=0.2), layers("ab"), knowing(held(*"ab"), spent=181.0))
    assert polish.polishes
    assert polish.tuning is not None
    assert polish.tuning.epochs == 19


def test_a_network_that_nothing_was_taken_from_is_not_polished() -> None:
    end = propose(FastConfig(), layers(), knowing(fell(*"abcd"), fell(*"ab"), fell("a"), spent=150.0))
    assert end.done == "none of 1 single activations could go"


def test_entropy_decides_between_equal_sensitivities() -> None:
    even = layer("even", [[1.0]], counts([50], [50]), sensitivity=0.2)
    settled = layer("settled", [[1.0]], counts([1], [99]), sensitivity=0.2)
    cheap = layer("cheap", [[1.0]], counts([50], [50]), sensitivity=-0.2)
    order = [found.site.name for found in ranked(CONFIG, [even, settled, cheap])]
    assert order == ["cheap", "settled", "even"]
    assert ranked(CONFIG, []) == []


def test_sensitivities_are_in_units_of_their_own() -> None:
    """In bits and in thousandths of bits the order is the same."""
    for scale in (1.0, 1e-3):
        pair = [
            layer("a", [[1.0]], counts([50], [50]), sensitivity=1.0 * scale),
            layer("b", [[1.0]], counts([1], [99]), sensitivity=1.2 * scale),
        ]
        assert ranked(CONFIG, pair)[0].site.name == "b"
        assert ranked(replace(CONFIG, prior=0.0), pair)[0].site.name == "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 1.0}, "budget is 1"),
        ({"depth": -1}, "depth is -1"),
        ({"shortest": 0.0}, "shortest is 0"),
        ({"step": 0.0}, "step is 0"),
        ({"tries": 0}, "tries is 0"),
        ({"near": -1.0}, "near and extensions"),
        ({"rate": 0.0}, "rate is 0"),
        ({"pressure": -1.0}, "weights must be 0 or more"),
        ({"temperature": 0.0}, "temperature is 0"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FastConfig(**options)
