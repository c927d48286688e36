"""Two models against each other that do not fit into memory together: one session at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from onnx_nepenthe.latency.pairs import (
    MOST_PAIRS,
    Clock,
    Comparison,
    Feeds,
    Runnable,
    comparison_of,
    paused_gc,
    per_call_s,
    repeats_for,
)

Opener = Callable[[], Runnable]


def compare_in_turns(
    before: Opener,
    after: Opener,
    feeds: Feeds,
    *,
    rng: np.random.Generator,
    min_pairs: int = 9,
    budget_s: float = 10.0,
    threads: int = 0,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Time two models of which one is in memory at a time.

    Sessions of before, after, before again as control, after and before come and go, one after the other; calls as
    far from the middle on both sides make one pair, so that linear drift cancels as in `pairs.compare`. The control is
    a session of its own: what the placement in memory does shows in it.

    Args:
        before, after: open a session that takes `feeds` and that nobody else holds.
        rng: for the bootstrap.
        min_pairs: at least so many pairs.
        budget_s: seconds of calls; opening comes on top.
        threads: for the record only.
    """
    with paused_gc():
        session = before()
        provider, repeats = session.provider, repeats_for(session, feeds, clock)
        call_s = per_call_s(session, feeds, repeats, clock)
        pairs = min(max(int(budget_s / (6 * max(call_s * repeats, 1e-9))), min_pairs), MOST_PAIRS)
        first = _calls(session, feeds, repeats, pairs, clock)
        del session
        rest = [
            _visit(opener, feeds, repeats, count, clock)
            for opener, count in ((after, pairs), (before, 2 * pairs), (after, pairs), (before, pairs))
        ]
    control = rest[1]
    sides = ((first, rest[3]), (rest[0], rest[2]), (control[:pairs], control[pairs:]))
    rows = np.array([(np.array(early) + late[::-1]) / 2 for early, late in sides]).T
    return comparison_of(rows, rng, provider, threads)


def _visit(opener: Opener, feeds: Feeds, repeats: int, count: int, clock: Clock) -> list[float]:
    """Timings in a session that is gone afterwards."""
    session = opener()
    repeats_for(session, feeds, clock)
    return _calls(session, feeds, repeats, count, clock)


def _calls(session: Runnable, feeds: Feeds, repeats: int, count: int, clock: Clock) -> list[float]:
    return [per_call_s(session, feeds, repeats, clock) for _ in range(count)]
