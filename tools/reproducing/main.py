"""Pruning methods beside each other on the same network, data and epochs."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks.readme import replace as put_into_readme
from reproducing import tables
from reproducing.data import Case, cifar10, digits
from reproducing.runs import Plan, Row, Shipped, made, shipped_again

from onnx_nepenthe.errors import NepentheError, UsageError
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.session import environment

NARROW = "+narrow"
"""Behind the name of a method whose linear runs are narrowed at the end."""
EVERY = (
    *("egp", "nepenthe", "easier", "sap", "one-shot", "gradual", "layer-folding", "tlc"),
    *("fast:depth=8", "fast", "fast+narrow"),
)
"""As many activations as EASIER takes in eight rounds, and as many as theta allows."""
EXPERIMENTS = {
    "methods": "every method",
    "pair": "one-shot against gradual at equal sparsity",
    "curve": "the PQ index over the rounds of SAP",
    "retime": "the networks of an earlier run, kept with --keep, collapsed and timed anew (same --data, --limit)",
}
RECORD = "rows.json"


def main(given: Sequence[str]) -> int:
    """Run the experiment and print its table; the exit code."""
    options = _parser().parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("reproduce").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    try:
        return _timed_again(options) if options.experiment == "retime" else _run(options)
    except NepentheError as error:
        print(f"tools/reproduce.py: error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    case = _case(options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        plans = [_plan(options, case, name, seed) for name in _methods(options) for seed in range(options.seeds)]
        rows = [made(case, plan, folder) for plan in plans]
    return _show(options, options.experiment, _caption(options, case), rows)


def _case(options: argparse.Namespace) -> Case:
    return digits() if options.data == "digits" else cifar10(options.cifar10, options.limit)


def _timed_again(options: argparse.Namespace) -> int:
    """The rest of the table is as it was."""
    if options.keep is None:
        raise UsageError("retime needs --keep FOLDER: where an earlier run left its models")
    found = json.loads((options.keep / RECORD).read_text(encoding="utf-8"))
    case = _case(options)
    rows = [shipped_again(_row(row), case, options.keep, options) for row in found["rows"]]
    return _show(options, found["experiment"], found["caption"], rows)


def _row(plain: dict[str, Any]) -> Row:
    shipped = None if plain["shipped"] is None else Shipped(**plain["shipped"])
    return Row(**plain | {name: tuple(plain[name]) for name in ("pq", "accuracy")} | {"shipped": shipped})


def _show(options: argparse.Namespace, experiment: str, caption: str, rows: Sequence[Row]) -> int:
    text = f"{caption}\n\n{_table(experiment, rows)}"
    print(text)
    if options.keep is not None:
        record = {"experiment": experiment, "caption": caption, "rows": [asdict(row) for row in rows]}
        (options.keep / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    if options.update_readme:
        put_into_readme(options.update_readme, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/reproduce.py", description=__doc__)
    experiments = "; ".join(f"{name}: {what}" for name, what in EXPERIMENTS.items())
    parser.add_argument("experiment", choices=EXPERIMENTS, help=experiments)
    parser.add_argument("--data", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--cifar10", type=Path, default=Path("cifar10"), metavar="FOLDER", help="train.npz, test.npz")
    parser.add_argument("--limit", type=int, help="images of CIFAR-10 to train on at most, and to test on")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--methods", default=",".join(EVERY), help=f"comma-separated, NAME:OPTION=VALUE{NARROW}")
    parser.add_argument("--sparsity", default="0.95", help="of one-shot and gradual pruning in `pair`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=20, help="of one full training")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=8, help="at most")
    parser.add_argument("--theta", default="dense-1", help="of `methods`; see onnx-nepenthe prune --help")
    parser.add_argument("--settle", type=float, default=5, help="epochs of a last fine-tuning with padding moved")
    parser.add_argument("--timed-batch", type=int, default=1, help="samples per call when models are timed")
    parser.add_argument("--timed-s", type=float, default=4.0, help="seconds that timing a pair of models takes at most")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="models and all numbers stay there")
    parser.add_argument("--update-readme", metavar="NAME", help="put the table between the markers bench:NAME")
    return parser


def _methods(options: argparse.Namespace) -> tuple[str, ...]:
    match options.experiment:
        case "pair":
            return ("one-shot", "gradual")
        case "curve":
            return ("sap",)
    return tuple(options.methods.split(","))


def _plan(options: argparse.Namespace, case: Case, method: str, seed: int) -> Plan:
    name, *given = method.removesuffix(NARROW).split(":")
    settings = {option: value for option, _, value in (text.partition("=") for text in given)}
    if not all(option and value for option, value in settings.items()):
        raise UsageError(f"--methods: {method!r} is not NAME:OPTION=VALUE, such as fast:depth=8")
    if method.endswith(NARROW) and not options.settle:
        raise UsageError(f"--methods: {method} needs --settle: epochs of the last fine-tuning")
    if options.experiment == "pair":
        settings["sparsity"] = options.sparsity
    if options.experiment == "pair" and method == "gradual":
        settings["rounds"] = str(options.rounds)
    recipe = Recipe(
        epochs=options.epochs,
        batch=options.batch,
        lr=options.lr,
        schedule="cosine",
        seed=seed,
        flip=case.flip,
        crop=case.crop,
        precision=options.precision,
    )
    # A comparison at equal sparsity, or a curve until collapse, must not stop early.
    is_table = options.experiment == "methods"
    return Plan(
        name=method,
        network=options.network,
        width=options.width,
        method=name,
        options=settings,
        recipe=recipe,
        rounds=options.rounds,
        theta=options.theta if is_table else "0",
        settle=options.settle,
        narrow=method.endswith(NARROW),
        timed_batch=options.timed_batch,
        timed_s=options.timed_s,
        ships=is_table,
    )


def _table(experiment: str, rows: Sequence[Row]) -> str:
    match experiment:
        case "pair":
            return tables.pair(rows)
        case "curve":
            return tables.curve(rows[0])
    return tables.methods(rows)


def _caption(options: argparse.Namespace, case: Case) -> str:
    train, validation, test = (len(part) for part in vars(case.splits).values())
    machine = environment()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, threads: {options.threads}"
    stop = f", theta {options.theta}" if options.experiment == "methods" else ", never stopped early"
    seeds = f"{options.seeds} seeds, mean ± standard deviation" if options.seeds > 1 else "one seed"
    return (
        f"{options.network}, width {options.width:g}, {case.name}: {train:,} training, {validation:,} validation and "
        f"{test:,} test images; {options.epochs:g} epochs a training, batch {options.batch}, SGD with peak rate "
        f"{options.lr:g} and cosine; at most {options.rounds} rounds{stop}; {seeds}. Trained with torch "
        f"{torch.__version__} on {device}; timed with onnxruntime {machine['onnxruntime']} on {machine['cpu']}, batch "
        f"{options.timed_batch}, Python {platform.python_version()}."
    )
