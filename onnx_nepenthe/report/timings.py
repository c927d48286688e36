"""Timings of several models as a table, a line and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from onnx_nepenthe.latency import Comparison, Timing
from onnx_nepenthe.report.json import environment_record, head, latency_record
from onnx_nepenthe.report.terminal import print_table, table_of
from onnx_nepenthe.report.text import clean, integer, milliseconds, plural, shorten


def print_timings(console: Console, timings: Sequence[Timing], environment: Mapping[str, Any]) -> None:
    """One row per model; the ratios below it."""
    table = table_of(
        ("model", "left", 26),
        ("p50", "right", 9),
        ("p90", "right", 9),
        ("p99", "right", 9),
        ("samples/s", "right", 10),
        ("load", "right", 8),
    )
    for timing in timings:
        alone = timing.alone
        times = (milliseconds(value) for value in (alone.p50_ms, alone.p90_ms, alone.p99_ms))
        rate = integer(round(timing.samples_per_s))
        table.add_row(Text(shorten(timing.model, 26)), *times, rate, milliseconds(timing.load_ms))
    first = timings[0]
    where = f"{environment['provider']}, threads {environment['threads'] or 'as the runtime chooses'}"
    print_table(console, f"Each by itself ({where}, batch {first.batch})", table)
    if len(timings) > 1:
        print_table(console, f"In turns with {shorten(first.model, 50)} (ratio above 1: faster)", _ratios(timings))


def _ratios(timings: Sequence[Timing]) -> Any:
    table = table_of(
        ("model", "left", 26),
        ("ratio", "right", 6),
        ("95 % interval", "right", 14),
        ("A/A control", "right", 14),
        ("pairs", "right", 5),
    )
    for timing in timings[1:]:
        found = timing.against_first
        if found is not None:
            table.add_row(
                Text(shorten(timing.model, 26)),
                f"{found.speedup:.3f}",
                f"{found.low:.3f}–{found.high:.3f}",
                f"{found.control_low:.3f}–{found.control_high:.3f}",
                str(found.pairs),
            )
    return table


def bench_line(timings: Sequence[Timing]) -> str:
    """The result in one line."""
    first = timings[0]
    if len(timings) == 1:
        return clean(f"{first.model}: {milliseconds(first.alone.p50_ms)} ({plural(first.alone.calls, 'call')})")
    paired = [(t.model, t.against_first) for t in timings[1:] if t.against_first is not None]
    return clean("; ".join(f"{model} is {_than(found)} {first.model}" for model, found in paired))


def _than(found: Comparison) -> str:
    if found.is_tie:
        return f"not clearly faster or slower ({found.low:.2f} to {found.high:.2f}) than"
    ratio = found.speedup if found.is_faster else 1 / found.speedup
    return f"{ratio:.2f}x {'faster' if found.is_faster else 'slower'} than"


def record_of_timings(
    timings: Sequence[Timing], message: str, environment: Mapping[str, Any], command: str = ""
) -> dict[str, Any]:
    """What `bench --json` writes."""
    return {
        **head("bench", timings[0].model, message, command),
        "models": [
            {
                "model": timing.model,
                **asdict(timing.alone),
                "load_ms": timing.load_ms,
                "batch": timing.batch,
                "samples_per_s": timing.samples_per_s,
                "against_first": None if timing.against_first is None else latency_record(timing.against_first),
            }
            for timing in timings
        ],
        "environment": environment_record(environment),
    }
