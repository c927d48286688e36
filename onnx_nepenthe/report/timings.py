"""Timings of several models as tables, a line, JSON and CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from onnx_nepenthe.latency import Comparison, Timing
from onnx_nepenthe.report.grid import print_table, table_of
from onnx_nepenthe.report.json import environment_record, head, latency_record
from onnx_nepenthe.report.text import clean, integer, milliseconds, plural, shorten, size


def print_timings(console: Console, timings: Sequence[Timing], environment: Mapping[str, Any]) -> None:
    """For every number of threads and batch size one row per model, and the ratios below."""
    for group in _groups(timings):
        first = group[0]
        where = f"{environment['provider']}, threads {first.threads or 'as the runtime chooses'}"
        print_table(console, f"Each by itself ({where}, batch {first.batch})", _alone(group))
        if len(group) > 1:
            print_table(console, f"In turns with {shorten(first.model, 50)} (ratio above 1: faster)", _ratios(group))


def _groups(timings: Sequence[Timing]) -> list[list[Timing]]:
    """Those with the same threads and batch size."""
    return [list(group) for _, group in itertools.groupby(timings, lambda timing: (timing.threads, timing.batch))]


def _alone(timings: Sequence[Timing]) -> Any:
    table = table_of(
        ("model", "left", 17),
        ("p50", "right", 9),
        ("p90", "right", 9),
        ("p99", "right", 9),
        ("samples/s", "right", 9),
        ("load", "right", 7),
        ("memory", "right", 8),
    )
    for timing in timings:
        alone = timing.alone
        times = (milliseconds(value) for value in (alone.p50_ms, alone.p90_ms, alone.p99_ms))
        rate, memory = integer(round(timing.samples_per_s)), timing.memory
        used = "–" if memory is None else size(memory.peak_bytes)
        table.add_row(Text(shorten(timing.model, 17)), *times, rate, milliseconds(timing.load_ms), used)
    return table


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
    groups = _groups(timings)
    return clean("; ".join(_line_of(group, is_only=len(groups) == 1) for group in groups))


def _line_of(timings: Sequence[Timing], *, is_only: bool) -> str:
    first = timings[0]
    where = "" if is_only else f" (threads {first.threads or 'as the runtime chooses'}, batch {first.batch})"
    if len(timings) == 1:
        return f"{first.model}: {milliseconds(first.alone.p50_ms)} ({plural(first.alone.calls, 'call')}){where}"
    paired = [(t.model, t.against_first) for t in timings[1:] if t.against_first is not None]
    return "; ".join(f"{model} is {_than(found)} {first.model}" for model, found in paired) + where


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
                "threads": timing.threads,
                "batch": timing.batch,
                "samples_per_s": timing.samples_per_s,
                "peak_bytes": None if timing.memory is None else timing.memory.peak_bytes,
                "process_bytes": None if timing.memory is None else timing.memory.process_bytes,
                "against_first": None if timing.against_first is None else latency_record(timing.against_first),
            }
            for timing in timings
        ],
        "environment": environment_record(environment),
    }


def csv_of_timings(timings: Sequence[Timing], environment: Mapping[str, Any]) -> str:
    """What `bench --csv` writes: a heading, and a line for every model, number of threads and batch size."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for timing in timings:
        memory, paired = timing.memory, timing.against_first
        row = {"model": timing.model, "threads": timing.threads, "batch": timing.batch, **asdict(timing.alone)}
        row |= {"provider": environment["provider"], "samples_per_s": timing.samples_per_s, "load_ms": timing.load_ms}
        row |= {} if memory is None else asdict(memory)
        row |= {} if paired is None else {name: getattr(paired, name) for name in _RATIOS}
        writer.writerow(row)
    return text.getvalue()


_RATIOS = ("speedup", "low", "high", "control_low", "control_high", "pairs")
_COLUMNS = (
    *("model", "provider", "threads", "batch", "p50_ms", "p90_ms", "p99_ms", "calls", "samples_per_s", "load_ms"),
    *("peak_bytes", "process_bytes", *_RATIOS),
)
