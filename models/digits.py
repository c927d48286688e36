"""What the build scripts of the two digits models share: data, training, export, report.

Data: the 1,797 images of scikit-learn's `load_digits`, 8x8, grey, 0…16 scaled to [0, 1], split once at random
into training, calibration and test data that share no image.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import export
import numpy as np
import pressure
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HERE = Path(__file__).parent
LOG = logging.getLogger("digits")
TRAINING, CALIBRATION = 1097, 300


@dataclass(frozen=True)
class Data:
    """Images float32 (N, 1, 8, 8) in [0, 1] and labels int64 (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        seed: of every random number.
        warm_up, push, settle: epochs of plain training, of training under pressure, and of training under pressure
            with frozen batch statistics, which is the function that is exported.
        rate: peak learning rate; the rate falls to zero over `push` from there, and `settle` runs at a twentieth.
        weight, margin: of the hinge (`pressure.hinge`).
        picks: (groups of rectifiers, how many groups to push), each decided after `warm_up`.
    """

    seed: int
    warm_up: int
    push: int
    settle: int
    rate: float
    weight: float
    margin: float
    picks: Sequence[tuple[Sequence[Sequence[str]], int]]
    batch: int = 64
    decay: float = 0.05


def split() -> tuple[Data, Data, Data]:
    """(training, calibration, test): 1,097, 300 and 400 images, the same on every call."""
    digits = load_digits()
    order = np.random.Generator(np.random.PCG64(1797)).permutation(len(digits.target))
    images = torch.from_numpy((digits.data / 16).astype(np.float32).reshape(-1, 1, 8, 8)[order])
    labels = torch.from_numpy(digits.target.astype(np.int64)[order])
    ends = [0, TRAINING, TRAINING + CALIBRATION, len(order)]
    training, calibration, test = (Data(images[a:b], labels[a:b]) for a, b in pairwise(ends))
    return training, calibration, test


def save_data(folder: Path) -> None:
    """Writes digits-calibration.npz and digits-test.npz; both models read them."""
    _, calibration, test = split()
    for name, data in (("calibration", calibration), ("test", test)):
        np.savez_compressed(
            folder / f"digits-{name}.npz", input=data.images.numpy(), labels=data.labels.numpy(), allow_pickle=False
        )


def shifted(images: Tensor) -> Tensor:
    """Each image moved by -1, 0 or 1 pixels on each axis."""
    count = len(images)
    padded = F.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, count, 1, 1))
    steps = torch.arange(8)
    return padded[torch.arange(count).view(-1, 1, 1), 0, down + steps.view(1, 8, 1), right + steps].unsqueeze(1)


@torch.no_grad()
def accuracy(model: nn.Module, data: Data) -> float:
    """Share of images whose largest logit is the label."""
    model.eval()
    return float((model(data.images).argmax(1) == data.labels).float().mean())


def train(model: nn.Module, data: Data, recipe: Recipe) -> None:
    """Trains in place; ends in evaluation mode."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    # Biases and normalisation parameters decide the regime of a channel and have far to go: a faster rate.
    optimiser = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": recipe.decay, "scale": 1.0},
            {"params": rest, "weight_decay": 0.0, "scale": 4.0},
        ]
    )
    targets: dict[str, pressure.Target] = {}
    last = recipe.warm_up + recipe.push
    for epoch in range(last + recipe.settle):
        started = time.perf_counter()
        if epoch == recipe.warm_up:
            targets = choose(model, data, recipe)
        # From a tenth of the weight to all of it: a few channels resist and need more force than the rest.
        force = recipe.weight * 10 ** (min(0, epoch - last) / recipe.push)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch, recipe) * group["scale"]
        model.train()
        if epoch >= last:
            freeze_statistics(model)
        losses = [
            step(model, optimiser, Data(data.images[i], data.labels[i]), targets, force, recipe.margin)
            for i in torch.randperm(len(data.images)).split(recipe.batch)
        ]
        task, push = np.mean(losses, axis=0)
        seconds = time.perf_counter() - started
        LOG.info("epoch %d  task %.4f  hinge %.4f  %.1f s", epoch + 1, task, push, seconds)
    model.eval()


def choose(model: nn.Module, data: Data, recipe: Recipe) -> dict[str, pressure.Target]:
    """The rectifiers to push and where each of their channels is to go."""
    counts = pressure.measure(model, data.images)
    picked = [name for groups, k in recipe.picks for name in pressure.pick(counts, groups, k)]
    for name, its in counts.items():
        LOG.info("%-14s %.4f bit%s", name, its.layer_entropy(average="all"), "  <- pushed" if name in picked else "")
    return {name: pressure.target(model.get_submodule(name), counts[name]) for name in picked}


def learning_rate(epoch: int, recipe: Recipe) -> float:
    """Two epochs of rise, the peak until half of `push`, a cosine over its second half, then low."""
    peak_ends = recipe.warm_up + recipe.push // 2
    progress = min(1.0, max(0, epoch - peak_ends) / (recipe.push - recipe.push // 2))
    return recipe.rate * min((epoch + 1) / 2, 0.02 + 0.49 * (1 + float(np.cos(np.pi * progress))))


def freeze_statistics(model: nn.Module) -> None:
    """BatchNorm uses its running statistics, as the exported model does; its parameters still learn."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Data,
    targets: dict[str, pressure.Target],
    weight: float,
    margin: float,
) -> tuple[float, float]:
    """One optimiser step; returns the loss of the task and the hinge."""
    with pressure.tapped(model, targets) as seen:
        task = F.cross_entropy(model(shifted(batch.images)), batch.labels, label_smoothing=0.05)
    hinges = [pressure.hinge(seen[name], goal, margin) for name, goal in targets.items()]
    push = torch.stack(hinges).sum() if hinges else torch.zeros(())
    optimiser.zero_grad()
    (task + weight * push).backward()
    optimiser.step()
    return float(task.detach()), float(push.detach())


def report(model: nn.Module) -> None:
    """Logs accuracy and, per rectifier and part of the data, entropy and the shares of its regimes.

    For rectifiers without entropy also the distance between the nearest pre-activation and a knot.
    """
    for part, data in zip(("training", "calibration", "test"), split(), strict=True):
        LOG.info("%s: accuracy %.4f", part, accuracy(model, data))
        for name, counts in pressure.measure(model, data.images).items():
            bits = counts.layer_entropy(average="all")
            share = (counts.with_ties("below").sum(axis=1) / counts.observations.sum()).round(4).tolist()
            gap = "" if bits else f"  {pressure.gap(model.get_submodule(name), counts):.3f} from a knot"
            LOG.info("  %-24s %.4f bit  regimes %s%s", name, bits, share, gap)


def main(model: type[nn.Module], recipe: Recipe, stem: str, opset: int) -> None:
    """Builds one model and, beside it, the data."""
    parser = argparse.ArgumentParser(description=f"train and export {stem}.onnx")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: this one)")
    out: Path = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("onnxscript").setLevel(logging.WARNING)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    training, _, _ = split()
    net = model()
    train(net, training, recipe)
    report(net)
    save_data(out)
    export.write(net, out / f"{stem}.onnx", opset)
