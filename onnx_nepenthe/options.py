"""How a run is done: one frozen record for the command line and the Python interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources import SourceOptions

LatencyMode = Literal["measured", "macs", "off"]
Progress = Callable[[str, int, int | None], None]
"""Told (stage, steps done, steps in all or None)."""


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Options:
    """Options of `inspect` and `collapse`.

    Attributes:
        data: what `sources.open_source` takes; None to do without.
        source: how data are read.
        input_ranges: input → (low, high) that callers promise.
        prove_budget_s: seconds that proving may take beyond interval arithmetic, 0 for intervals alone; a report says
            when they were not enough.
        prove_work: multiply-adds that it may take (passing over a number counts as eight); what is proved depends on
            them and not on how fast a machine is.
        proved_only: use no decision that rests on data.
        latency: how candidates are priced.
        config: provider and threads.
        batch: samples per run of the measurement.
        latency_batch: samples per run when latency is measured (models with a dynamic batch).
        seed: of everything random.
        limit: calibration samples at most.
        verify_limit: verification samples at most.
        skip: rules not to apply, by name.
        freeze_initializers: take weights that are also graph inputs for constants.
        inline_functions: put the bodies of local functions in place of their calls first.
        cache: folder of the latency cache; None for no cache.
        latency_table: costs of operators on the device that the result is for; None to measure on this one.
        max_drop: points of the metric that may be spent; None for exact rewrites only.
        target_speedup: wanted speed-up, at the least price; None for none.
        metric: name in `metrics.METRICS`; "" for top1, agreement or error, whichever fits.
        fit_limit: fitting samples at most.
        tune_limit: tuning samples at most.
        price_limit: verification samples that a price is taken on, at most.
        measurement: what was measured before, used instead of measuring.
        against: a measurement whose decisions the data are to be compared with.
        scan: follow only rectifiers that can still be decided; None: `collapse` does, `inspect` counts everything.
        line_sums, by_class: collect sums for least-squares lines, and counts by class label.
        max_flip_rate: refuse observed decisions that the number of samples cannot support at this rate (95 %).
        progress: told how far a stage is.
    """

    data: object = None
    source: SourceOptions = field(default_factory=SourceOptions)
    input_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    prove_budget_s: float = 60.0
    prove_work: float = 2e10
    proved_only: bool = False
    latency: LatencyMode = "measured"
    config: SessionConfig = field(default_factory=SessionConfig)
    batch: int = 32
    latency_batch: int = 1
    seed: int = 0
    limit: int | None = None
    verify_limit: int | None = 512
    skip: frozenset[str] = frozenset()
    freeze_initializers: bool = False
    inline_functions: bool = False
    cache: Path | None = None
    latency_table: Path | None = None
    max_drop: float | None = None
    target_speedup: float | None = None
    metric: str = ""
    fit_limit: int | None = 1024
    tune_limit: int | None = 4096
    price_limit: int | None = 4096
    measurement: Measurement | None = None
    against: Measurement | None = None
    scan: bool | None = None
    line_sums: bool = False
    by_class: bool = False
    max_flip_rate: float | None = None
    progress: Progress = no_progress
