"""Peak memory on models above what protobuf can hold: `inspect` and `collapse` as processes of their own."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import readme  # noqa: E402

from tests.helpers.large import KINDS  # noqa: E402

MIB = 1 << 20
ENTRY = "from onnx_nepenthe.cli import main; main()"
PAGE = ROOT / "docs" / "faults.md"
SMALL = ROOT / "models" / "digits-mlp.onnx"
"""What the commands take on it is what Python, onnx and onnxruntime take on anything."""
COMMANDS = ("inspect", "collapse --latency off", "collapse")


@dataclass(frozen=True)
class Row:
    """One command on one model; memory is the most the process had in RAM, mapped files included, MiB.

    Attributes:
        kind: of the model.
        command: without the file names.
        weights_mib: of the model.
        peak_mib: on it.
        small_mib: on a small model.
        seconds: on it.
    """

    kind: str
    command: str
    weights_mib: float
    peak_mib: float
    small_mib: float
    seconds: float


def main(arguments: list[str]) -> int:
    """Make each model, run each command on it, print peak memory, remove everything."""
    parser = argparse.ArgumentParser(prog="tools/bench.py large", description=__doc__)
    parser.add_argument("--mib", type=int, default=2200, help="of weights")
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--command", nargs="+", default=COMMANDS, help="what to run, without file names")
    parser.add_argument("--folder", type=Path, help="with room for four times the weights; default the system's")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--update-docs", action="store_true", help="put the table into docs/faults.md")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    for kind in given.kind:
        with tempfile.TemporaryDirectory(prefix="large-", dir=given.folder) as folder:
            model = Path(folder) / "model.onnx"
            KINDS[kind](model, given.mib * MIB)
            rows += [measured(kind, command, model) for command in given.command]
    print(markdown(rows))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    if given.update_docs:
        readme.replace("large", markdown(rows), PAGE)
    return 0


def measured(kind: str, command: str, model: Path) -> Row:
    """Run `command` on the model, and on a small one."""
    small_mib, _ = peak_of(command, SMALL, model.parent)
    peak_mib, seconds = peak_of(command, model, model.parent)
    weights_mib = model.with_name(model.name + ".data").stat().st_size / MIB
    return Row(kind, command, weights_mib, peak_mib, small_mib, seconds)


def peak_of(command: str, model: Path, folder: Path) -> tuple[float, float]:
    """Most memory in MiB, as `/usr/bin/time -v` calls its maximum resident set size, and seconds.

    Raises:
        SystemExit: the command failed.
    """
    name, *options = shlex.split(command)
    words = [sys.executable, "-c", ENTRY, name, str(model), "--quiet", *options]
    if name == "collapse":
        words += ["-o", str(folder / "out.onnx"), "--no-cache"]
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, words, os.environ | {"TMPDIR": str(folder)}, file_actions=QUIET)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{shlex.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    # Linux counts in KiB, macOS in bytes.
    unit = MIB if sys.platform == "darwin" else 1 << 10
    return usage.ru_maxrss * unit / MIB, time.perf_counter() - start


QUIET = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| model | command | weights, MiB | peak memory, MiB | peak / weights | small model, MiB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.kind} | {row.command} | {row.weights_mib:,.0f} | {row.peak_mib:,.0f} "
        f"| {row.peak_mib / row.weights_mib:.2f} | {row.small_mib:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)
