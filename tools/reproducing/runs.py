"""One method on one network: train, prune, export, collapse, time; a row of numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from reproducing.data import Case
from torch.nn import functional as F  # noqa: N812

from onnx_nepenthe import run as onnx_half
from onnx_nepenthe.latency import Comparison, compare
from onnx_nepenthe.latency.feeds import random_feeds
from onnx_nepenthe.options import Options
from onnx_nepenthe.prune.api import Pruned, batches_of, prune_splits
from onnx_nepenthe.prune.building import build
from onnx_nepenthe.prune.data import classes_of, example_of
from onnx_nepenthe.prune.export import INPUT, Array, export
from onnx_nepenthe.prune.measures.psp import class_entropies
from onnx_nepenthe.prune.measures.sharpness import sharpness, weight_masks
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.rounds import Theta
from onnx_nepenthe.prune.settings import Settings
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.tap import measure
from onnx_nepenthe.prune.tuning import last_tuning
from onnx_nepenthe.report.json import record_of_outcome
from onnx_nepenthe.session import SessionConfig, open_session

LOG = logging.getLogger("reproduce")
BATCH = 256
SHARPNESS_BATCHES = 2
REFERENCE = SessionConfig(optimise=False)


class Timing(Protocol):
    """How models are timed: samples per call, and seconds that a pair of models takes at most."""

    @property
    def timed_batch(self) -> int: ...  # noqa: D102
    @property
    def timed_s(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Plan:
    """What one run is.

    Attributes:
        name: of its row and its files.
        network, width: of `NETWORKS`.
        method: of `METHODS`.
        options: of the method, as text.
        recipe: of one full training; its seed is also that of the weights.
        rounds: at most.
        theta: as on the command line.
        settle: epochs of the last fine-tuning with padding moved; 0 for none.
        narrow: whether linear runs are narrowed before it.
        timed_batch: samples per call when models are timed.
        timed_s: seconds that timing a pair of models takes at most.
        ships: whether the result is exported and collapsed too.
    """

    name: str
    network: str
    width: float
    method: str
    options: Mapping[str, str]
    recipe: Recipe
    rounds: int
    theta: str
    settle: float = 0.0
    narrow: bool = False
    timed_batch: int = 1
    timed_s: float = 4.0
    ships: bool = True


@dataclass(frozen=True)
class Shipped:
    """What the ONNX half made of a network.

    Attributes:
        accuracy: of the collapsed model, on test data.
        gone: rectifiers of the network that are not in it.
        depth_before, depth: weighted operators on the longest path, of the dense and of the collapsed model.
        speedup, low, high: dense ONNX model over the collapsed one, with the 95 % interval.
    """

    accuracy: float
    gone: int
    depth_before: int
    depth: int
    speedup: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What one run came to.

    Attributes:
        method: its name.
        seed: of the run.
        dense, test: test accuracy of the dense network and of the pruned one.
        sites: rectifiers of the network.
        zero: of them at zero entropy or made a line.
        linear: of them made a line.
        sparsity: share of the prunable weights that is gone.
        trainings: epochs of all trainings, in dense trainings.
        cpu_s: seconds of processor time that training and pruning took.
        psp, sharpness: class-conditional entropy in bits (first order); mean |diagonal of the Hessian|.
        pq: PQ index of all prunable weights after each round.
        accuracy: on validation data after each round.
        shipped: None when it was not exported.
    """

    method: str
    seed: int
    dense: float
    test: float
    sites: int
    zero: int
    linear: int
    sparsity: float
    trainings: float
    cpu_s: float
    psp: float
    sharpness: float
    pq: tuple[float, ...]
    accuracy: tuple[float, ...]
    shipped: Shipped | None = None


def made(case: Case, plan: Plan, folder: Path) -> Row:
    """Runs `plan`; its ONNX models stay in `folder`."""
    started = time.process_time()
    pruned = _pruned(case, plan)
    result, cpu_s = pruned.result, time.process_time() - started
    shipped = None
    if plan.ships:
        dense, file, _ = _files(folder, plan.name, plan.recipe.seed)
        export(pruned.dense.cpu(), pruned.example, dense, run=_outputs)
        pruned.export(file, _outputs)
        shipped = _shipped(case, folder, (plan.name, plan.recipe.seed), len(pruned.subject.sites), plan)
    statistics = measure(pruned.subject, batches_of(case.splits.train, BATCH), by_class=True, sums=False)
    row = Row(
        method=plan.name,
        seed=plan.recipe.seed,
        dense=result.dense_test or 0.0,
        test=result.test or 0.0,
        sites=len(pruned.subject.sites),
        zero=len(result.final.zero) + len(result.final.linear),
        linear=len(result.final.linear),
        sparsity=result.final.sparsity,
        trainings=result.epochs / plan.recipe.epochs,
        cpu_s=cpu_s,
        psp=float(np.mean([found.first for found in class_entropies(statistics).values()])),
        sharpness=_sharpness(pruned.subject, case, plan.recipe.seed),
        pq=tuple(entry.pq_index for entry in result.rounds),
        accuracy=tuple(entry.accuracy for entry in result.rounds),
        shipped=shipped,
    )
    LOG.info("%s, seed %d, %.0f s: %s", plan.name, row.seed, cpu_s, result.reason)
    LOG.info("  test %.4f -> %.4f, %d linear", row.dense, row.test, row.linear)
    return row


def _pruned(case: Case, plan: Plan) -> Pruned:
    example = example_of(case.splits.train)
    model = build(plan.network, example, classes_of(case.splits.train), width=plan.width, seed=plan.recipe.seed)
    # A third faster on a CPU.
    model = model.to(memory_format=torch.channels_last)
    settle = last_tuning(plan.settle, narrow=plan.narrow) if plan.settle else None
    settings = Settings(Theta.parse(plan.theta), rounds=plan.rounds, settle=settle, narrow=plan.narrow)
    return prune_splits(
        model, case.splits, method=plan.method, options=plan.options, recipe=plan.recipe, settings=settings
    )


def shipped_again(row: Row, case: Case, folder: Path, timing: Timing) -> Row:
    """The row with its network, which `made` left in `folder`, collapsed and timed anew."""
    if row.shipped is None:
        return row
    return replace(row, shipped=_shipped(case, folder, (row.method, row.seed), row.sites, timing))


def _shipped(case: Case, folder: Path, name: tuple[str, int], sites: int, timing: Timing) -> Shipped:
    dense, file, result = _files(folder, *name)

    def feeds() -> Iterator[tuple[dict[str, Array], Array]]:
        for inputs, labels in batches_of(case.splits.train, BATCH):
            yield {INPUT: inputs.numpy()}, labels.numpy()

    options = Options(data=feeds, latency_batch=timing.timed_batch)
    before = record_of_outcome(onnx_half.collapse(dense, folder / "scratch.onnx", Options(latency="off"))[1])
    after = record_of_outcome(onnx_half.collapse(file, result, options)[1])
    speed = _speed(dense, result, timing.timed_batch, timing.timed_s)
    return Shipped(
        accuracy=_accuracy(result, case),
        gone=sites - after["rectifiers"]["after"],
        depth_before=before["weighted_depth"]["before"],
        depth=after["weighted_depth"]["after"],
        speedup=speed.speedup,
        low=speed.low,
        high=speed.high,
    )


def _files(folder: Path, method: str, seed: int) -> tuple[Path, Path, Path]:
    """Of the dense, the pruned and the collapsed model."""
    dense, pruned, collapsed = (folder / f"{method}-{seed}-{what}.onnx" for what in ("dense", "pruned", "collapsed"))
    return dense, pruned, collapsed


def _speed(dense: Path, result: Path, batch: int, seconds: float) -> Comparison:
    config = SessionConfig()
    first, second, control = (open_session(path, config) for path in (dense, result, dense))
    feeds = random_feeds(first.inputs, {"N": batch}, np.random.default_rng(0))
    return compare(first, second, feeds, rng=np.random.default_rng(0), control=control, budget_s=seconds)


def _outputs(path: Path, inputs: Array) -> Array:
    found: Array = open_session(path, REFERENCE).run({INPUT: inputs})[0]
    return found


def _accuracy(path: Path, case: Case) -> float:
    session = open_session(path, SessionConfig())
    assert case.splits.test is not None
    right = [
        session.run({INPUT: inputs.numpy()})[0].argmax(1) == labels.numpy()
        for inputs, labels in batches_of(case.splits.test, BATCH)
    ]
    return float(np.concatenate(right).mean())


def _sharpness(subject: Subject, case: Case, seed: int) -> float:
    def loss(outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        assert targets is not None
        return F.cross_entropy(outputs, targets)

    batches = [batch for batch, _ in zip(batches_of(case.splits.train, BATCH), range(SHARPNESS_BATCHES), strict=False)]
    generator = torch.Generator().manual_seed(seed)
    return sharpness(subject.module, weight_masks(subject), batches, loss, generator=generator)
