"""Options on what is measured, on measurements made before, and on what data are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.cli.parameters import FILE, together
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.measure import read_measurement, read_measurements
from onnx_nepenthe.options import Options

max_flip_rate = click.option(
    "--max-flip-rate",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="RATE",
    help="Decide on data only what so many samples can support: a channel leaves its regime in at most this share of "
    "samples (95 %).",
)
scan = click.option(
    "--scan/--no-scan",
    default=None,
    help="Follow only rectifiers that may yet be lines; their decisions are those of a full count, entropies of the "
    "others are not known. collapse scans by itself, inspect counts everything.",
)
recorded = click.option(
    "--measurement",
    "measurement_path",
    metavar="JSON",
    type=FILE,
    help="Use what `inspect --data … --json` measured; --data, if given, serves to verify.",
)
inspecting = together(
    click.argument("shards", metavar="[SHARD]…", nargs=-1, type=FILE),
    click.option("--merge", is_flag=True, help="Add up the measurements in SHARD… instead of measuring."),
    click.option(
        "--against",
        "against_path",
        metavar="JSON",
        type=FILE,
        help="List decisions of an earlier measurement that --data contradict; exit code 3 if there are any.",
    ),
    click.option("--line-sums", is_flag=True, help="Also sums for a least-squares line per channel (in --json)."),
    click.option("--by-class", is_flag=True, help="Also counts by class label (in --json)."),
    scan,
    max_flip_rate,
)
collapsing = together(recorded, scan, max_flip_rate)


def with_measurements(options: Options, given: Mapping[str, Any]) -> Options:
    """The options with the measurements that files hold.

    Raises:
        UsageError: options that contradict each other, or measurements that do not belong together.
        UnreadableError: a file without a measurement.
    """
    shards: tuple[Path, ...] = given.get("shards", ())
    if bool(shards) != bool(given.get("merge")):
        raise UsageError("--merge adds up the measurements of the files after MODEL; give both or neither")
    if shards and given.get("data"):
        raise UsageError("--merge uses measurements and --data measures; give one of the two")
    recorded, against = given.get("measurement_path"), given.get("against_path")
    if shards:
        options = replace(options, measurement=read_measurements(shards))
    elif recorded is not None:
        options = replace(options, measurement=read_measurement(recorded))
    return options if against is None else replace(options, against=read_measurement(against))
