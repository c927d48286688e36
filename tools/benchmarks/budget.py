"""Budgets: what a price buys here, beside baselines on the same splits; see benchmarks/baselines.py.

All methods fit, choose and are held to the price on the same parts of the data, and end with the exact collapse. Drops
are on the verification part, speed-ups of whole models against the input. Without MODEL: the bundled digits models.

Run: tools/bench.py budget [MODEL … --data D … [--bundled]] [--drops 0.5 1 2 4] [--batch 1 8] [--limit N] [--order N]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks import readme
from benchmarks.baselines import BASELINES, METHODS, OURS, Bench, made_by, opened

import onnx_nepenthe
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import side_of
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.options import Options
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.session import SessionConfig, environment
from onnx_nepenthe.trial import compare_models

MARKER = "budget"
OWN = ("lost (95 %)", "speed-up (95 %)", "rectifiers", "depth")
HEADER = ("model", "batch", "allowed", *(f"{OURS}: {what}" for what in OWN), *BASELINES)
ORDERS = ("entropy", "sensitivity", "both")
MODELS = Path(__file__).resolve().parents[2] / "models"
BUNDLED = tuple(str(MODELS / f"digits-{name}.onnx") for name in ("mlp", "resnet"))
TIMING_S = 3.0


@dataclass(frozen=True)
class Case:
    """One model, its data, and how they are used.

    Attributes:
        path: of the model.
        options: of the run.
    """

    path: str
    options: Options

    @property
    def name(self) -> str:
        """For the table."""
        return Path(self.path).stem


@dataclass(frozen=True)
class Result:
    """What a method made for a price.

    Attributes:
        lost: points on verification data, with the ends of their interval.
        before, after: rectifiers and weighted depth.
        speed: the input against it.
    """

    lost: tuple[float, float, float]
    before: tuple[int, int]
    after: tuple[int, int]
    speed: Comparison


def rows(case: Case, drops: Sequence[float], batches: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The table of one model, row by row."""
    for batch in batches:
        bench = opened(case.path, replace(case.options, latency_batch=batch))
        timed: dict[str, Comparison] = {}
        for allowed in drops:
            found = {method: _result(bench, method, allowed, timed, case.name) for method in METHODS}
            baselines = (_short(found[name]) for name in BASELINES)
            yield (case.name, str(batch), f"{allowed:g}", *_long(found[OURS]), *baselines)


def _result(bench: Bench, method: str, allowed: float, timed: dict[str, Comparison], name: str) -> Result:
    start = time.perf_counter()
    model = made_by(method, bench, allowed)
    print(f"{name}: {method}, {allowed:g}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    key = digest(model)
    if key not in timed:
        timed[key] = _speed(bench, model)
    sides = [side_of(view_from_model(one), bench.shop.dims) for one in (bench.input, model)]
    before, after = ((side.rectifiers, side.size.weighted_depth) for side in sides)
    return Result(bench.lost(model), before, after, timed[key])


def _long(found: Result) -> tuple[str, ...]:
    drop, low, high = found.lost
    counts = (f"{was} → {now}" for was, now in zip(found.before, found.after, strict=True))
    speed = found.speed
    return (
        f"{drop + 0.0:.2f} ({low:.2f} to {high:.2f})",
        f"**{speed.speedup:.2f}×** ({speed.low:.2f}–{speed.high:.2f})",
        *counts,
    )


def _short(found: Result) -> str:
    return f"{found.lost[0] + 0.0:.2f}, {found.speed.speedup:.2f}×, {found.after[0]}"


def _speed(bench: Bench, model: Model) -> Comparison:
    feeds = timing_feeds(bench.shop.findings, bench.options) or {}
    config, rng = bench.options.config, np.random.default_rng(0)
    return compare_models(bench.input, model, feeds, config, rng, budget_s=TIMING_S)


def orders(case: Case, count: int) -> Iterator[tuple[str, ...]]:
    """Points lost on tuning data after the first 1 … `count` rectifiers became lines, by order."""
    bench = opened(case.path, replace(case.options, latency="off"))
    for name in ORDERS:
        drops = [
            f"{bench.drop_of_first(f'lines by {name}', n):.2f}" for n in range(1, min(count, len(bench.lines)) + 1)
        ]
        yield (case.name, name, *drops, *[""] * (count - len(drops)))


def markdown(cells: Sequence[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def table(header: Sequence[str], body: Sequence[Sequence[str]], same: int) -> list[str]:
    """Lines of a table; of its first `same` columns, what repeats the row above is left out."""
    lines = [markdown(header), f"|{'---|' * len(header)}"]
    before: Sequence[str] = ()
    for row in body:
        shared = next((at for at in range(same) if tuple(row[: at + 1]) != tuple(before[: at + 1])), same)
        lines.append(markdown([*[""] * shared, *row[shared:]]))
        before = row
    return lines


def caption(cases: Sequence[Case]) -> str:
    """What the tables hold for."""
    machine = environment(cases[0].options.config)
    threads = f"{machine['threads']} threads" if machine["threads"] else "its own choice of threads"
    return (
        f"onnx-nepenthe {onnx_nepenthe.__version__}, onnxruntime {machine['onnxruntime']}, {machine['provider']}, "
        f"{threads}, {machine['cpu']}. Lost: points of accuracy on verification data, with the 95 % interval of the "
        "paired bootstrap; allowed: the most that may be lost there; depth: of weighted operators. Baselines (points "
        "lost, speed-up, rectifiers left) remove rectifiers one by one in an order, by the identity or a line fitted "
        "per channel, on the same splits and followed by the same exact collapse."
    )


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="tools/bench.py budget", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--data", nargs="+", default=[], metavar="D", help="one per MODEL, in their order")
    parser.add_argument("--drops", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--limit", type=int, default=1024, help="samples to fit on (1024)")
    parser.add_argument("--threads", type=int, default=0, help="of onnxruntime; 0 leaves the number to it (0)")
    parser.add_argument("--order", type=int, default=8, metavar="N", help="also compare orders of N rectifiers (8)")
    parser.add_argument("--bundled", action="store_true", help="the bundled models after those named")
    parser.add_argument("--update-readme", action="store_true", help="put the tables into README.md")
    args = parser.parse_args(given)
    if len(args.models) != len(args.data):
        parser.error(f"{len(args.models)} models need as many --data, not {len(args.data)}")
    return args


def cases_of(args: argparse.Namespace) -> list[Case]:
    """The models to run, the bundled ones where none are named."""
    options = Options(
        batch=100,
        fit_limit=args.limit,
        verify_limit=None,
        prove_budget_s=0.0,
        config=SessionConfig(threads=args.threads),
    )
    bundled = [(model, digits()) for model in BUNDLED] if args.bundled or not args.models else []
    pairs = [*zip(args.models, args.data, strict=True), *bundled]
    return [Case(model, replace(options, data=data)) for model, data in pairs]


def digits() -> dict[str, np.ndarray]:
    """The bundled images that the bundled models were not trained on."""
    parts = [np.load(MODELS / f"digits-{part}.npz") for part in ("calibration", "test")]
    return {name: np.concatenate([part[name] for part in parts]) for name in ("input", "labels")}


def main(given: Sequence[str]) -> int:
    """Print the tables."""
    args = arguments(given)
    cases = cases_of(args)
    body = [row for case in cases for row in rows(case, args.drops, args.batch)]
    lines = [caption(cases), "", *table(HEADER, body, 2)]
    if args.order:
        header = ("model", "order", *(str(n) for n in range(1, args.order + 1)))
        lost = [row for case in cases for row in orders(case, args.order)]
        lines += ["", "Points lost on tuning data once the first 1, 2 … rectifiers of an order are lines:", ""]
        lines += table(header, lost, 1)
    print("\n".join(lines))
    if args.update_readme:
        readme.replace(MARKER, "\n".join(lines))
    return 0
