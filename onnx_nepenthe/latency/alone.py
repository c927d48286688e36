"""One model by itself: quantiles over single calls, as someone who waits for an answer meets them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.latency.footprint import Footprint
from onnx_nepenthe.latency.pairs import WARM_UP_CALLS, Clock, Comparison, Feeds, Runnable, paused_gc

FEWEST_CALLS = 20
MOST_CALLS = 100_000


@dataclass(frozen=True)
class Quantiles:
    """Milliseconds that half, 90 % and 99 % of the calls do not exceed, and the number of calls."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    calls: int


@dataclass(frozen=True)
class Timing:
    """One of the models that are compared.

    Attributes:
        model: its path.
        load_ms: making the session, milliseconds.
        batch: samples per call.
        alone: its calls by themselves.
        against_first: in turns with the first model, which is the `before`; None for the first itself.
        threads: of one operator; 0: onnxruntime's choice.
        memory: None when it was not measured.
    """

    model: str
    load_ms: float
    batch: int
    alone: Quantiles
    against_first: Comparison | None = None
    threads: int = 0
    memory: Footprint | None = None

    @property
    def samples_per_s(self) -> float:
        """Throughput at the median."""
        return 1e3 * self.batch / self.alone.p50_ms


def time_alone(session: Runnable, feeds: Feeds, budget_s: float, clock: Clock = time.perf_counter) -> Quantiles:
    """Call `session` for `budget_s` seconds, and at least `FEWEST_CALLS` times.

    Quantiles over single calls, where `pairs.compare` takes medians of pairs: this shows the tail, that one resolves
    small differences.
    """
    for _ in range(WARM_UP_CALLS):
        session.run(feeds)
    calls_s: list[float] = []
    with paused_gc():
        deadline = clock() + budget_s
        while len(calls_s) < MOST_CALLS and (len(calls_s) < FEWEST_CALLS or clock() < deadline):
            start = clock()
            session.run(feeds)
            calls_s.append(clock() - start)
    p50, p90, p99 = (1e3 * float(quantile) for quantile in np.quantile(calls_s, (0.5, 0.9, 0.99)))
    return Quantiles(p50, p90, p99, len(calls_s))
