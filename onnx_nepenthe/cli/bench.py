"""`bench`: how long models take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.benchmark import Settings, bench_files
from onnx_nepenthe.cli import types
from onnx_nepenthe.cli.app import Command
from onnx_nepenthe.cli.output import Output, check_paths
from onnx_nepenthe.cli.parameters import FILE, common_but_threads, input_range, options_from
from onnx_nepenthe.report.timings import bench_line, csv_of_timings, print_timings, record_of_timings
from onnx_nepenthe.session import environment
from onnx_nepenthe.tabling import measured_table


@click.command(cls=Command)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=FILE)
@click.option("--data", metavar="D", help="Time on the first batch of these data; default seeded random numbers.")
@click.option(
    "--batch",
    "batches",
    type=types.counts(1),
    default="1",
    show_default=True,
    metavar="N,…",
    help="Samples per call, where the model allows; several: each is timed.",
)
@click.option(
    "--threads",
    type=types.counts(0),
    default="0",
    metavar="N,…",
    help="Threads of one operator; 0: onnxruntime's choice; several: each is timed with every --batch.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Spent per model, --batch and --threads.",
)
@click.option(
    "--memory/--no-memory",
    default=True,
    help="Whether peak memory is measured, in a process of its own for each model (Linux).",
)
@click.option("--csv", "csv_path", metavar="PATH", type=FILE, help="Write a line per model, --batch and --threads.")
@click.option(
    "--table",
    "table_path",
    metavar="JSON",
    type=FILE,
    help="Also time every operator and part of the one MODEL, and what could stand for it, on this device; for "
    "`collapse --latency-table` elsewhere. Give it the --data of that collapse.",
)
@input_range
@common_but_threads
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    seconds: float,
    memory: bool,
    csv_path: Path | None,
    table_path: Path | None,
    **given: Any,
) -> None:
    """Time each MODEL by itself, and each in turns with the first.

    The ratio comes with its 95 % interval and that of the first model against itself, which shows what this machine
    cannot resolve. `--data package.module:callable` imports that module and calls it: it runs code.

    \b
    Example:
      onnx-nepenthe bench model.onnx model.collapsed.onnx --threads 1,2 --batch 1,8 --csv timings.csv
    """
    for path in models:
        check_paths(
            {"the model": path, "--json": given["json_path"], "--csv": csv_path, "--table": table_path},
        )
    if table_path is not None and (len(models), len(threads), len(batches)) != (1, 1, 1):
        raise click.UsageError("--table is of one MODEL with one --batch and one --threads; give one of each")
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        options = options_from(given | {"threads": threads[0], "batch": batches[0]}, bars)
        timings = bench_files(models, options, Settings(seconds, threads, batches, memory))
        if table_path is not None:
            table = measured_table(models[0], replace(options, latency_batch=options.batch))
            output.write(table_path, table.to_json() + "\n")
    line = bench_line(timings)
    machine = environment(options.config)
    output.write_json(record_of_timings(timings, line, machine, ctx.obj or ""))
    if csv_path is not None:
        output.write(csv_path, csv_of_timings(timings, machine))
    output.show(lambda console: print_timings(console, timings, machine), line)
