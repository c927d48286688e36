"""Two models against each other: symmetric interleaved timings, medians, bootstrap interval, A/A control."""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
Clock = Callable[[], float]
"""Seconds since some fixed moment, as `time.perf_counter`."""
SHORTEST_TIMING_S = 1e-3
"""A faster model is called several times per timing, so that the clock and the scheduler matter little."""
MOST_REPEATS = 1 << 14
WARM_UP_CALLS = 3
MOST_PAIRS = 300
PRECISION = 0.01
"""An interval this wide is narrow enough …"""
SEPARATION = 0.25
"""… and so is one this wide relative to its distance from 1."""
RESAMPLES = 1000
CLOCK_DIGITS = 6
"""Of milliseconds: a clock tells no less than a nanosecond."""
GROWTH = 1.3
"""The interval is looked at again after this factor more pairs; rarely, as each look is a chance to stop early."""


class Runnable(Protocol):
    """What can be timed: a `session.Session`, or a stand-in."""

    provider: str

    def run(self, feeds: Feeds) -> list[Array]:
        """The outputs for `feeds`."""


@dataclass(frozen=True)
class Comparison:
    """How long two models take, and how sure that is.

    Attributes:
        before_ms, after_ms: median per call, milliseconds.
        speedup: median over pairs of before/after; > 1 means that `after` is faster. Pairing removes drift, so that
            it may differ a little from before_ms/after_ms.
        low, high: 95 % bootstrap interval of `speedup`.
        control_low, control_high: the same interval for `before` against itself, in the same run; how far it strays
            from 1 is what this machine cannot resolve.
        pairs: how many ratios the medians are over.
        provider, threads: what ran it (threads 0: the runtime's choice).
        each_ms: `before`, `after` and `before` again in each pair, milliseconds per call; () when nothing was timed.
    """

    before_ms: float
    after_ms: float
    speedup: float
    low: float
    high: float
    control_low: float
    control_high: float
    pairs: int
    provider: str
    threads: int
    each_ms: tuple[tuple[float, float, float], ...] = ()

    @property
    def is_faster(self) -> bool:
        """The whole interval is above 1 and above what the control shows for equal models."""
        return self.low > max(1.0, self.control_high)

    @property
    def is_slower(self) -> bool:
        """The whole interval is below 1; noise is no excuse for shipping something slower."""
        return self.high < min(1.0, self.control_low)

    @property
    def is_tie(self) -> bool:
        """Neither faster nor slower."""
        return not (self.is_faster or self.is_slower)


def compare(
    before: Runnable,
    after: Runnable,
    feeds: Feeds,
    *,
    rng: np.random.Generator,
    control: Runnable | None = None,
    min_pairs: int = 9,
    budget_s: float = 10.0,
    threads: int = 0,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Time two sessions in this process.

    One pair is a palindrome over before, after and control (A B C C B A), so that linear drift cancels; the roles
    rotate from pair to pair, so that each session follows itself equally often. Stops when the interval is narrow
    or the budget is spent, never before `min_pairs`.

    Args:
        before, after: open sessions that both take `feeds`.
        rng: for the bootstrap.
        control: a second session of the same model as `before`, which also shows what the placement in memory does;
            `before` itself when omitted.
        budget_s: seconds, warm-up included.
        threads: for the record only.

    Source: DESIGN.md, timing. The interval is the percentile bootstrap of the median ratio.
    """
    deadline = clock() + budget_s
    sessions = (before, after, control or before)
    with paused_gc():
        # One number for all: the first calls after a switch are the slow ones, and fewer calls hold more of them
        # (two sessions of one model, 1 call against 4 per timing: 13 % apart; 4 against 4: below 1 %).
        repeats = max(repeats_for(session, feeds, clock) for session in sessions)
        rows: list[list[float]] = []
        look_at = max(min_pairs, 1)
        while len(rows) < MOST_PAIRS:
            rows.append(_palindrome(sessions, repeats, feeds, len(rows) % 3, clock))
            if len(rows) < look_at:
                continue
            timings = np.array(rows)
            if clock() >= deadline or _is_narrow(*_median_interval(timings[:, 0] / timings[:, 1], rng)):
                break
            look_at = min(math.ceil(GROWTH * len(rows)), len(rows) + _affordable(deadline - clock(), rows, repeats))
    return comparison_of(np.array(rows), rng, before.provider, threads)


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
    """No garbage collection inside; the state before is restored."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def repeats_for(session: Runnable, feeds: Feeds, clock: Clock, shortest_s: float = SHORTEST_TIMING_S) -> int:
    """Warm the session up and return how many calls take at least `shortest_s` together (a power of two)."""
    for _ in range(WARM_UP_CALLS):
        session.run(feeds)
    repeats = 1
    while repeats < MOST_REPEATS and per_call_s(session, feeds, repeats, clock) * repeats < shortest_s:
        repeats *= 2
    return repeats


def per_call_s(session: Runnable, feeds: Feeds, repeats: int, clock: Clock) -> float:
    """Seconds per call, mean over `repeats` calls in a row."""
    start = clock()
    for _ in range(repeats):
        session.run(feeds)
    return (clock() - start) / repeats


def _palindrome(sessions: tuple[Runnable, ...], repeats: int, feeds: Feeds, turn: int, clock: Clock) -> list[float]:
    """Seconds per call of each session, mean over its two places in the palindrome."""
    order = [(turn + step) % 3 for step in range(3)]
    totals = [0.0, 0.0, 0.0]
    for which in (*order, *reversed(order)):
        totals[which] += per_call_s(sessions[which], feeds, repeats, clock)
    return [total / 2 for total in totals]


def _affordable(left_s: float, rows: list[list[float]], repeats: int) -> int:
    """How many more pairs fit into the time that is left; at least one."""
    pair_s = 2 * repeats * float(np.median(rows, axis=0).sum())
    return max(1, int(min(left_s / pair_s, MOST_PAIRS))) if pair_s > 0 else MOST_PAIRS


def _median_interval(ratios: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float, float]:
    """Median and its 95 % percentile-bootstrap interval."""
    picks = rng.integers(0, ratios.size, size=(RESAMPLES, ratios.size))
    low, high = np.quantile(np.median(ratios[picks], axis=1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def _is_narrow(middle: float, low: float, high: float) -> bool:
    return high - low <= max(PRECISION, SEPARATION * abs(middle - 1.0))


def comparison_of(
    timings: npt.NDArray[np.float64], rng: np.random.Generator, provider: str, threads: int
) -> Comparison:
    """The record of timings (pairs, 3): seconds per call of before, after and before again."""
    before, after, control = timings.T
    speedup, low, high = _median_interval(before / after, rng)
    _, control_low, control_high = _median_interval(before / control, rng)
    return Comparison(
        before_ms=float(np.median(before)) * 1e3,
        after_ms=float(np.median(after)) * 1e3,
        speedup=speedup,
        low=low,
        high=high,
        control_low=control_low,
        control_high=control_high,
        pairs=len(timings),
        provider=provider,
        threads=threads,
        each_ms=tuple((a, b, c) for a, b, c in np.round(timings * 1e3, CLOCK_DIGITS).tolist()),
    )
