"""What measuring costs over plain inference on the same batches, in time, memory and bytes handed back.

Batches alternate between a plain session and a counting one in one process, in ABBA order and with spinning off; a
ratio is the median of its pairs, with the quartiles beside it. The scan is timed as a whole, the opening of its
sessions included, because it changes while it goes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks import readme
from benchmarks.nets import IMAGE, NETS
from benchmarks.reading import ByResults, FollowsAll, ReadsOnce

from onnx_nepenthe.graph.load import model_from_proto
from onnx_nepenthe.graph.samples import values_with_samples
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.measure import Collect, measure
from onnx_nepenthe.measure.job import Job
from onnx_nepenthe.measure.run import NO_BATCH, targets_of
from onnx_nepenthe.measure.runner import Runner
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.session import SessionConfig, environment, open_session
from onnx_nepenthe.sources import Batch, open_source

Array = npt.NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10


KINDS: dict[str, tuple[type[Runner], Collect]] = {
    "each value read once": (ReadsOnce, Collect()),
    "counts, ends": (Runner, Collect()),
    "and sums for lines": (Runner, Collect(lines=True)),
    "and by class": (Runner, Collect(lines=True, classes=True)),
    "scan that drops nothing": (FollowsAll, Collect(scan=True)),
    "dead or alive": (ByResults, Collect(scan=True)),
}
"""Ends are minimum and maximum."""


@dataclass(frozen=True)
class Cost:
    """Quartiles of the ratio to a plain run, its milliseconds, and what a counting run hands back.

    Attributes:
        share: of the bytes of all pre-activations.
    """

    ratios: tuple[float, float, float]
    plain_ms: float
    returned_bytes: int
    share: float


@dataclass(frozen=True)
class Row:
    """One net.

    Attributes:
        costs: by kind.
        scan: of a whole scan over plain runs, the opening of all sessions included on both sides.
        later: of a batch of its second half.
        memory_mib: (number of samples, peak of the process) twice; () when not measured.
    """

    net: str
    costs: dict[str, Cost]
    scan: float
    later: float
    memory_mib: tuple[tuple[int, float], ...]


def main(arguments: list[str]) -> int:
    """Print one row for each net."""
    options = _parsed(arguments)
    if options.memory_of is not None:
        print(_peak_bytes(options.memory_of, options.samples, options.batch, options.seed))
        return 0
    config = SessionConfig(threads=options.threads)
    table = markdown([_measured(name, options, config) for name in options.net or NETS], options, config)
    print(table)
    if options.update_readme:
        readme.replace("measure", table)
    return 0


def markdown(rows: list[Row], options: argparse.Namespace, config: SessionConfig) -> str:
    """The table with its caption."""
    machine = environment(config)
    threads = f"{config.threads} threads" if config.threads else "its own choice of threads"
    lines = [
        "Time of counting over plain inference on the same batches: median (quartiles) of "
        f"{options.pairs} pairs in one process, spinning off; batch {options.batch} of "
        f"{'x'.join(map(str, IMAGE))}, random weights; onnxruntime "
        f"{machine['onnxruntime']}, {machine['provider']}, {threads}, {os.cpu_count()} cores of {machine['cpu']}. "
        "Each value read once: one maximum of all elements of each value before a rectifier, which no statistic of it "
        "undercuts. Ends: minimum and maximum. A scan that drops nothing is the most a first phase may cost, dead or "
        "alive one by the maxima of results alone, where they are images. The whole scan is of "
        f"{options.scan_batches} batches, with the time to open its sessions (and the plain one); "
        "in brackets a batch of its second half.",
        "",
        "| net | plain, ms | " + " | ".join(KINDS) + " | whole scan | handed back, of activations | peak memory, MiB |",
        "|---" * (len(KINDS) + 5) + "|",
    ]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Row) -> str:
    costs = row.costs.values()
    ratios = [f"{middle:.2f} ({low:.2f}–{high:.2f})" for low, middle, high in (cost.ratios for cost in costs)]
    plain_ms, counts = np.median([cost.plain_ms for cost in costs]), row.costs["counts, ends"]
    memory = ", ".join(f"{mib:.0f} on {samples}" for samples, mib in row.memory_mib) or "–"
    cells = [row.net, f"{plain_ms:.0f}", *ratios, f"{row.scan:.2f} ({row.later:.2f})"]
    return " | ".join(["| " + cells[0], *cells[1:], f"{counts.returned_bytes:,} B, {counts.share:.2%}", memory]) + " |"


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench.py measure", description=__doc__)
    parser.add_argument("--net", action="append", choices=sorted(NETS), help="which net; repeatable; all by default")
    parser.add_argument("--batch", type=int, default=8, help="samples in a batch (8)")
    parser.add_argument("--pairs", type=int, default=12, help="pairs of runs a ratio is the median of (12)")
    parser.add_argument("--scan-batches", type=int, default=16, help="batches of the whole scan (16)")
    parser.add_argument("--threads", type=int, default=0, help="of one operator; 0 for onnxruntime's choice")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (0)")
    parser.add_argument("--no-memory", action="store_true", help="leave out the runs that measure memory")
    parser.add_argument("--update-readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--memory-of", choices=sorted(NETS), help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _measured(name: str, options: argparse.Namespace, config: SessionConfig) -> Row:
    model = model_from_proto(NETS[name](options.seed))
    rng = np.random.default_rng(options.seed)
    batches = [_batch(rng, options.batch) for _ in range(2)]
    of_all = _activation_bytes(model, options.batch)
    costs = {}
    for kind, (runner_type, collect) in KINDS.items():
        runner = runner_type(_job(model, config, collect))
        ratios, plain_s, returned = _paired(model, runner, batches, options.pairs, config)
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
        costs[kind] = Cost((low, middle, high), 1e3 * plain_s, returned, returned / of_all)
    scan, later = _scanned(model, config, rng, options)
    return Row(name, costs, scan, later, () if options.no_memory else tuple(_memory_mib(name, options)))


def _job(model: Model, config: SessionConfig, collect: Collect) -> Job:
    view = view_from_model(model)
    rectifiers, _ = find_rectifiers(view)
    targets, _ = targets_of(view, rectifiers)
    rows = values_with_samples(model, {t.value for t in targets} if collect.classes else set(), NO_BATCH)
    return Job(model, view, tuple(targets), {r.key: r for r in rectifiers}, config, collect, rows, may_cut=True)


def _batch(rng: np.random.Generator, size: int) -> Batch:
    x = rng.standard_normal((size, *IMAGE), dtype=np.float32)
    return Batch({"x": x}, rng.integers(0, CLASSES, size), size)


def _paired(
    model: Model, runner: Runner, batches: list[Batch], pairs: int, config: SessionConfig
) -> tuple[list[float], float, int]:
    """Ratios of pairs, seconds of a plain run, and bytes handed back by one counting run."""
    plain = open_session(model, config)

    def run_plain(batch: Batch) -> float:
        return _timed(lambda: plain.run(batch.feeds))

    def run_counting(batch: Batch) -> float:
        return _timed(lambda: runner.add(batch, batch.feeds, padded=False))

    for batch in batches:
        run_plain(batch), run_counting(batch)
    before, ratios, plain_s = runner.returned_bytes, [], []
    for at in range(pairs):
        batch = batches[at % len(batches)]
        order = (run_plain, run_counting) if at % 2 else (run_counting, run_plain)
        spent = {run: run(batch) for run in order}
        ratios.append(spent[run_counting] / spent[run_plain])
        plain_s.append(spent[run_plain])
    return ratios, float(np.median(plain_s)), (runner.returned_bytes - before) // pairs


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _scanned(
    model: Model, config: SessionConfig, rng: np.random.Generator, options: argparse.Namespace
) -> tuple[float, float]:
    """Ratio of all and of a later batch; in turn, and a scan that has settled has nothing more to do."""
    sessions: list[Any] = []
    scans: list[Runner] = []
    plain_s = _timed(lambda: sessions.append(open_session(model, config)))
    scan_s = _timed(lambda: scans.append(Runner(_job(model, config, Collect(scan=True)))))
    ratios = []
    for _ in range(options.scan_batches):
        batch = _batch(rng, options.batch)
        own_s, other_s = _timed(lambda batch=batch: sessions[0].run(batch.feeds)), 0.0
        if not scans[0].is_settled:
            other_s = _timed(lambda batch=batch: scans[0].add(batch, batch.feeds, padded=False))
        plain_s, scan_s = plain_s + own_s, scan_s + other_s
        ratios.append(other_s / own_s)
    return scan_s / plain_s, float(np.median(ratios[len(ratios) // 2 :]))


def _activation_bytes(model: Model, batch: int) -> int:
    """What fetching every pre-activation of a batch would hand back."""
    view = view_from_model(model)
    shapes = [view.tensors[r.operand].shape or () for r in find_rectifiers(view)[0]]
    return sum(4 * batch * int(np.prod([size for size in shape[1:] if isinstance(size, int)])) for shape in shapes)


def _memory_mib(name: str, options: argparse.Namespace) -> Iterator[tuple[int, float]]:
    command = [sys.executable, str(ROOT / "bench.py"), "measure", "--memory-of", name, "--batch", str(options.batch)]
    for samples in (2 * options.batch, 16 * options.batch):
        done = subprocess.run([*command, "--samples", str(samples)], check=True, capture_output=True, encoding="utf-8")
        yield samples, int(done.stdout) / 2**20


def _peak_bytes(name: str, samples: int, batch: int, seed: int) -> int:
    """Peak memory of this process after measuring `samples` samples that are made as they are needed."""
    model = model_from_proto(NETS[name](seed))
    view = view_from_model(model)

    def feeds() -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng(seed)
        return ({"x": _batch(rng, batch).feeds["x"]} for _ in range(samples // batch))

    measure(model, find_rectifiers(view)[0], open_source(feeds, [view.tensors["x"]]), batch=batch)
    return _peak_of_this_process()


def _peak_of_this_process() -> int:
    """Bytes; what `getrusage` tells begins with the peak of the process that started this one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
