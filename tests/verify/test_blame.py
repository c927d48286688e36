"""Delta debugging: culprits alone, together, interacting; how many calls it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.verify.blame import bisect


class Judge:
    """Passes unless all of some fatal group are kept; counts its calls."""

    def __init__(self, *fatal: set[int]) -> None:
        self.fatal, self.calls = fatal, 0

    def __call__(self, kept: Sequence[int]) -> bool:
        self.calls += 1
        assert list(kept) == sorted(kept)
        return not any(group <= set(kept) for group in self.fatal)


def test_nothing_is_blamed_when_all_pass() -> None:
    judge = Judge()
    assert bisect(range(50), judge) == ()
    assert judge.calls == 1
    assert bisect([], judge) == ()


@pytest.mark.parametrize("culprit", [0, 1, 511, 998, 999])
def test_one_culprit_takes_a_logarithm_of_calls(culprit: int) -> None:
    judge = Judge({culprit})
    assert bisect(range(1000), judge) == (culprit,)
    assert judge.calls <= 13


def test_independent_culprits_are_all_found() -> None:
    judge = Judge({3}, {500}, {501})
    assert bisect(range(1000), judge) == (3, 500, 501)
    assert judge.calls <= 3 * 12 + 4


def test_of_two_that_break_only_together_one_goes() -> None:
    assert bisect(range(100), Judge({10, 20})) == (20,)


def test_interacting_and_independent_culprits_mix() -> None:
    assert bisect(range(100), Judge({10, 20}, {20, 30}, {77})) == (20, 77)


def test_steps_may_be_anything_and_equal_ones_are_told_apart() -> None:
    assert bisect(["a", "b", "a"], lambda kept: kept.count("a") < 2) == ("a",)


def test_a_culprit_that_a_later_one_covers_is_put_back() -> None:
    # 1 alone breaks; 1 with 2 does not; 3 breaks always.
    def passes(kept: Sequence[int]) -> bool:
        return 3 not in kept and (1 not in kept or 2 in kept)

    assert bisect([1, 3, 2], passes) == (3,)


def test_failing_with_no_step_is_not_a_steps_fault() -> None:
    with pytest.raises(VerificationError, match="fails even with no rewrite at all"):
        bisect([1, 2, 3], lambda kept: False)
    with pytest.raises(VerificationError):
        bisect([], lambda kept: False)


groups = st.lists(st.sets(st.integers(0, 19), min_size=1, max_size=3), max_size=4)


@given(groups)
def test_the_others_pass_and_no_culprit_can_come_back(fatal: list[set[int]]) -> None:
    judge: Callable[[Sequence[int]], bool] = Judge(*fatal)
    blamed = bisect(range(20), judge)
    kept = [step for step in range(20) if step not in blamed]
    assert judge(kept)
    assert not any(judge(sorted([*kept, step])) for step in blamed)
