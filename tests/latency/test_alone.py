"""Quantiles over single calls, with a clock that the test turns."""

from __future__ import annotations

import itertools

import pytest

from onnx_nepenthe.latency import Quantiles, Timing, time_alone
from onnx_nepenthe.latency.alone import FEWEST_CALLS


class Fake:
    provider = "cpu"

    def __init__(self, durations):
        self.now = 0.0
        self.calls = 0
        self._durations = itertools.cycle(durations)

    def run(self, feeds):
        self.calls += 1
        self.now += next(self._durations)
        return []

    def clock(self):
        return self.now


def test_quantiles_show_the_tail():
    fake = Fake([0.001] * 9 + [0.011])
    found = time_alone(fake, {}, 10.0, fake.clock)
    assert found.p50_ms == pytest.approx(1.0)
    assert found.p99_ms == pytest.approx(11.0)
    assert found.p50_ms <= found.p90_ms <= found.p99_ms
    assert found.calls == pytest.approx(10.0 / 0.002, rel=0.01)


def test_a_slow_model_is_called_often_enough_for_quantiles():
    fake = Fake([5.0])
    assert time_alone(fake, {}, 1.0, fake.clock).calls == FEWEST_CALLS


def test_throughput_counts_samples():
    assert Timing("m.onnx", 1.0, 8, Quantiles(2.0, 3.0, 4.0, 20)).samples_per_s == pytest.approx(4000.0)
