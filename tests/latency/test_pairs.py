"""Timings without time: sessions that only move a clock."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from onnx_nepenthe.graph.reference import identity_model
from onnx_nepenthe.latency.pairs import Comparison, compare, paused_gc, repeats_for
from onnx_nepenthe.session import open_session


@dataclass
class Clock:
    """Seconds that pass only when a session runs; `pace` stretches them (drift, spikes)."""

    pace: Callable[[float, int], float] = lambda now, call: 1.0
    now: float = 0.0
    calls: int = 0
    log: list[str] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeSession:
    cost_s: float
    clock: Clock
    name: str = ""
    provider: str = "fake"

    def run(self, feeds: object) -> list[object]:
        self.clock.calls += 1
        self.clock.log.append(self.name)
        self.clock.now += self.cost_s * self.clock.pace(self.clock.now, self.clock.calls)
        return []


def timed(before_s: float, after_s: float, clock: Clock, **options: float) -> Comparison:
    before, after = FakeSession(before_s, clock, "A"), FakeSession(after_s, clock, "B")
    return compare(before, after, {}, rng=np.random.default_rng(0), clock=clock, **options)


def test_steady_clock_gives_the_exact_ratio() -> None:
    found = timed(0.004, 0.002, Clock(), threads=3)
    assert found.speedup == pytest.approx(2.0)
    assert (found.before_ms, found.after_ms) == (pytest.approx(4.0), pytest.approx(2.0))
    assert (found.low, found.high) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (found.provider, found.threads) == ("fake", 3)
    assert found.is_faster
    assert not found.is_slower
    assert not found.is_tie


def test_the_slower_one_is_called_slower() -> None:
    found = timed(0.002, 0.0021, Clock())
    assert found.is_slower
    assert not found.is_faster


@pytest.mark.parametrize("slope", [0.5, -0.005])
def test_linear_drift_cancels(slope: float) -> None:
    found = timed(0.004, 0.004, Clock(lambda now, call: 1.0 + slope * now), budget_s=3.0)
    assert found.speedup == pytest.approx(1.0, abs=2e-3)
    assert found.is_tie or not found.is_faster


def test_drift_does_not_hide_a_real_difference() -> None:
    found = timed(0.0044, 0.004, Clock(lambda now, call: 1.0 + 0.5 * now))
    assert found.speedup == pytest.approx(1.1, abs=5e-3)
    assert found.is_faster


def test_spikes_do_not_matter() -> None:
    found = timed(0.0048, 0.004, Clock(lambda now, call: 20.0 if call % 37 == 0 else 1.0))
    assert found.speedup == pytest.approx(1.2, abs=1e-6)
    assert found.is_faster


def test_noise_alone_is_a_tie() -> None:
    verdicts = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        verdicts.append(timed(0.002, 0.002, Clock(lambda now, call, rng=rng: rng.lognormal(0, 0.2)), budget_s=1.0))
    assert sum(found.is_faster for found in verdicts) <= 1
    assert sum(found.is_slower for found in verdicts) <= 3
    assert all(found.control_low < 1.02 and found.control_high > 0.98 for found in verdicts)


def test_a_gain_within_the_control_is_no_gain() -> None:
    clear = Comparison(1.0, 0.9, 1.1, 1.05, 1.15, 0.98, 1.02, 9, "cpu", 0)
    assert clear.is_faster
    assert replace(clear, control_high=1.06).is_tie


def test_a_second_session_as_control_shows_its_bias() -> None:
    clock = Clock()
    before, after, control = (FakeSession(cost, clock) for cost in (0.002, 0.0019, 0.0018))
    found = compare(before, after, {}, rng=np.random.default_rng(0), clock=clock, control=control)
    assert found.control_low == pytest.approx(0.002 / 0.0018)
    assert not found.is_faster


def test_fast_models_are_repeated_within_a_timing() -> None:
    clock = Clock()
    repeats = repeats_for(FakeSession(1e-5, clock), {}, clock)
    assert 1e-3 <= repeats * 1e-5 < 2.1e-3
    assert repeats_for(FakeSession(0.5, clock), {}, clock) == 1


def test_a_clock_that_stands_still_does_not_hang() -> None:
    clock = Clock()
    assert repeats_for(FakeSession(0.0, clock), {}, clock) == 1 << 14


def test_the_budget_bounds_noisy_runs_and_min_pairs_bounds_slow_ones() -> None:
    rng = np.random.default_rng(0)
    clock = Clock(lambda now, call: rng.lognormal(0, 0.5))
    found = timed(0.01, 0.01, clock, budget_s=2.0)
    assert 9 < found.pairs < 60
    assert clock.now < 2.5
    assert timed(100.0, 100.0, Clock(lambda now, call: rng.lognormal(0, 0.5)), min_pairs=4).pairs == 4


def test_each_session_has_every_place_equally_often() -> None:
    clock = Clock()
    before, after, control = (FakeSession(0.002, clock, name) for name in "ABC")
    compare(before, after, {}, rng=np.random.default_rng(0), clock=clock, control=control, min_pairs=3)
    assert "".join(clock.log[-18:]) == "ABCCBABCAACBCABBAC"


def test_gc_is_paused_and_restored() -> None:
    assert gc.isenabled()
    with contextlib.suppress(RuntimeError), paused_gc():
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled()


def test_gc_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with paused_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_real_sessions_can_be_compared() -> None:
    session = open_session(identity_model())
    feeds = {"x": np.zeros(1, np.float32)}
    found = compare(session, session, feeds, rng=np.random.default_rng(0), budget_s=0.05, min_pairs=3)
    assert found.before_ms > 0
    assert found.low <= found.speedup <= found.high
    assert found.provider == "cpu"
