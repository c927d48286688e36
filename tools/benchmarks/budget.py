"""Budgets: what a price buys here, beside two baselines on the same splits.

Baselines remove rectifiers one by one, the lowest entropy first, until the next would cost more than is allowed on the
tuning data: replaced by the identity (what depth reduction by entropy does, here without its training), or by a line
fitted per channel. Then comes the exact collapse, as for ours. Drops are on verification data, speed-ups of models.

Run: tools/bench.py budget MODEL --data D [--drops 0.5 1 2 4] [--batch 1 8] [--limit N] [--order N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_nepenthe.affine.maps import PerChannel
from onnx_nepenthe.budget import open_shop, refit
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.fit import Fitting
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import find, side_of
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.metrics import paired_drop
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.substitutes import Substitute, substitutes
from onnx_nepenthe.trial import compare_models
from onnx_nepenthe.workshop import Made, Workshop

HEADER = ("method", "allowed", "batch", "drop (95 %)", "rectifiers", "depth", "speed-up (95 %)", "seconds")
METHODS = ("ours", "lines by entropy", "identity by entropy")
Maker = Callable[[Sequence[Substitute]], tuple[Made, ...]]


@dataclass(frozen=True)
class Bench:
    """One model with its data and its lines, by entropy.

    Attributes:
        shop: to fit and score with.
        options: of exact collapses.
        lines: a substitute per rectifier, the lowest entropy first.
    """

    shop: Workshop
    options: Options
    lines: tuple[Substitute, ...]

    def drop(self, made: Sequence[Made]) -> float:
        """Points on the tuning data."""
        return self.shop.drop_and_proxy(self.shop.build(made), None)[0]

    def identities(self, chosen: Sequence[Substitute]) -> tuple[Made, ...]:
        """Rectifiers replaced by what goes in."""
        return tuple(Made(one, Fitting(PerChannel(None, np.ones(1), np.zeros(1)), 1.0)) for one in chosen)

    def fitted(self, chosen: Sequence[Substitute]) -> tuple[Made, ...]:
        """Rectifiers replaced by lines, fitted one after the other."""
        return refit(self.shop, chosen)


def opened(path: str, options: Options) -> Bench:
    """The model at `path`."""
    findings = find(load(path), options)
    shop = open_shop(findings, options)
    shop.original_scores("tuning")
    curved = tuple(entry.rectifier for entry in findings.linearised.undecided.values())
    lines = {next(iter(s.rectifiers)): s for s in substitutes(findings.view, curved, shop.dims) if s.kind == "line"}
    counts = {} if findings.measurement is None else findings.measurement.counts
    ranked = sorted(lines, key=lambda key: counts[key].layer_entropy() if key in counts else np.inf)
    return Bench(shop, options, tuple(lines[key] for key in ranked))


def baseline(bench: Bench, maker: Maker, allowed: float) -> Model:
    """Rectifiers removed in order while the tuning data allow it, then the exact collapse."""
    kept: tuple[Made, ...] = ()
    for count in range(1, len(bench.lines) + 1):
        made = maker(bench.lines[:count])
        if bench.drop(made) > allowed:
            break
        kept = made
    model: Model = bench.shop.build(kept) if kept else bench.shop.findings.model
    return collapse(model, "baseline", bench.options).model or model


def ours(bench: Bench, allowed: float) -> Model:
    """`collapse --max-drop`; the input where nothing can be collapsed."""
    model = bench.shop.findings.model
    try:
        return collapse(model, "ours", replace(bench.options, max_drop=allowed)).model or model
    except VerificationError:
        return model


def made_by(method: str, bench: Bench, allowed: float) -> Model:
    """The model that a method makes."""
    if method == "ours":
        return ours(bench, allowed)
    return baseline(bench, bench.fitted if method.startswith("lines") else bench.identities, allowed)


def rows(path: str, options: Options, drops: Sequence[float], batches: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The table, row by row."""
    for batch in batches:
        bench = opened(path, replace(options, latency_batch=batch))
        for allowed in drops:
            for method in METHODS:
                start = time.perf_counter()
                model = made_by(method, bench, allowed)
                yield _row(method, allowed, batch, bench, model, time.perf_counter() - start)


def _row(method: str, allowed: float, batch: int, bench: Bench, model: Model, seconds: float) -> tuple[str, ...]:
    shop = bench.shop
    before, after = shop.original_scores("verification"), shop.scores(model, "verification")
    drop, low, high = paired_drop(before, after, np.random.default_rng(0))
    sides = side_of(shop.findings.view, shop.dims), side_of(view_from_model(model), shop.dims)
    return (
        method,
        f"{allowed:g}",
        str(batch),
        f"{drop:.2f} ({low:.2f} to {high:.2f})",
        f"{sides[0].rectifiers} → {sides[1].rectifiers}",
        f"{sides[0].size.weighted_depth} → {sides[1].size.weighted_depth}",
        _speed(_timed(bench, model)),
        f"{seconds:.0f}",
    )


def _timed(bench: Bench, model: Model) -> Comparison:
    feeds = timing_feeds(bench.shop.findings, bench.options) or {}
    return compare_models(
        bench.shop.findings.model, model, feeds, bench.options.config, np.random.default_rng(0), budget_s=3.0
    )


def _speed(found: Comparison) -> str:
    return f"{found.speedup:.2f} ({found.low:.2f} to {found.high:.2f})"


def orders(bench: Bench, count: int) -> Iterator[tuple[str, ...]]:
    """Points lost on tuning data after the first 1 … `count` rectifiers became lines, in three orders."""
    alone = {line: bench.drop(bench.fitted([line])) for line in bench.lines}
    by_entropy = {line: place for place, line in enumerate(bench.lines)}
    by_drop = {line: place for place, line in enumerate(sorted(bench.lines, key=lambda line: alone[line]))}
    keys = {
        "entropy": by_entropy,
        "sensitivity": by_drop,
        "both": {line: by_entropy[line] + by_drop[line] for line in bench.lines},
    }
    for name, places in keys.items():
        ranked = sorted(bench.lines, key=lambda line: (places[line], by_entropy[line]))
        yield (name, *(f"{bench.drop(bench.fitted(ranked[:n])):.2f}" for n in range(1, count + 1)))


def markdown(cells: Sequence[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="tools/bench.py budget", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--drops", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--limit", type=int, default=1024, help="samples to fit and to tune on")
    parser.add_argument("--order", type=int, default=0, metavar="N", help="also compare orders of N rectifiers")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> int:
    """Print the tables."""
    args = arguments(given)
    options = Options(
        data=args.data, batch=100, fit_limit=args.limit, tune_limit=args.limit, verify_limit=None, prove_budget_s=0.0
    )
    print(markdown(HEADER), markdown(["---"] * len(HEADER)), sep="\n", flush=True)
    for row in rows(args.model, options, args.drops, args.batch):
        print(markdown(row), flush=True)
    if args.order:
        header = ("order", *(str(n) for n in range(1, args.order + 1)))
        print("", markdown(header), markdown(["---"] * len(header)), sep="\n", flush=True)
        for row in orders(opened(args.model, options), args.order):
            print(markdown(row), flush=True)
    return 0
