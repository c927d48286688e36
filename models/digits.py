"""What the build scripts of the two digits models share: data, training by onnx_nepenthe.prune, export, report.

Data: the 1,797 images of scikit-learn's `load_digits`, 8x8, grey, 0…16 scaled to [0, 1], split once at random
into training, calibration and test data that share no image.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from onnx_nepenthe.prune.api import Pruned, batches_of, prune, use_threads
from onnx_nepenthe.prune.methods.press import PressConfig
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.records import Site, SiteStatistics
from onnx_nepenthe.prune.rounds import Event
from onnx_nepenthe.prune.tap import measure

HERE = Path(__file__).parent
LOG = logging.getLogger("digits")
PARTS = ("training", "calibration", "test")
TRAINING, CALIBRATION = 1097, 300
ACCURACY, RECTIFIERS, FILES = "| model | training accuracy |", "| model | rectifier |", "| file | bytes |"
"""How the header lines of the tables in README.md begin."""


def split() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """(training, calibration, test): 1,097, 300 and 400 images, the same on every call.

    Images are float32 (N, 1, 8, 8) in [0, 1], labels int64 (N,).
    """
    digits = load_digits()
    order = np.random.Generator(np.random.PCG64(1797)).permutation(len(digits.target))
    images = torch.from_numpy((digits.data / 16).astype(np.float32).reshape(-1, 1, 8, 8)[order])
    labels = torch.from_numpy(digits.target.astype(np.int64)[order])
    ends = [0, TRAINING, TRAINING + CALIBRATION, len(order)]
    training, calibration, test = (TensorDataset(images[a:b], labels[a:b]) for a, b in pairwise(ends))
    return training, calibration, test


def save_data(folder: Path) -> None:
    """Writes digits-calibration.npz and digits-test.npz; both models read them."""
    for name, data in zip(PARTS[1:], split()[1:], strict=True):
        images, labels = (tensor.numpy() for tensor in data.tensors)
        np.savez_compressed(folder / f"digits-{name}.npz", input=images, labels=labels, allow_pickle=False)


def pressed(network: type[nn.Module], recipe: Recipe, config: PressConfig) -> Pruned:
    """The network, trained and then pressed; the calibration data validate, the test data are looked at once."""
    use_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(recipe.seed)
    training, calibration, test = split()
    return prune(
        network(),
        training,
        validation=calibration,
        test=test,
        method="press",
        config=config,
        recipe=recipe,
        theta="dense-1",
        tell=_tell,
    )


def _tell(event: Event) -> None:
    if event.epoch is not None:
        LOG.info("%s, epoch %d: loss %.4f", event.phase, event.epoch.number, event.epoch.loss)
    elif event.round is not None:
        LOG.info("%s: accuracy %.4f on calibration data", event.phase, event.round.accuracy)


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """The first output of an ONNX file, its optimiser off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": images})[0]


def accuracy(path: Path, data: TensorDataset) -> float:
    """Share of images whose largest logit is the label."""
    images, labels = (tensor.numpy() for tensor in data.tensors)
    return float((run(path, images).argmax(1) == labels).mean())


def gap(site: Site, statistics: SiteStatistics) -> float:
    """Smallest distance of a pre-activation from a knot, for a rectifier none of whose channels crosses one."""
    counts = statistics.counts
    return min(float(np.abs(end - knot).min()) for knot in site.activation.knots for end in (counts.low, counts.high))


def rectifier_rows(stem: str, pruned: Pruned) -> Iterator[str]:
    """A row of README.md for each rectifier: entropies, shares of its regimes, distance to a knot."""
    found = [measure(pruned.subject, batches_of(data, 256), sums=False) for data in split()]
    for site in pruned.subject.sites:
        own = [statistics[site.name] for statistics in found]
        curved = None in site.activation.lines
        bits = [statistics.counts.layer_entropy(average="all") for statistics in own]
        shown = ["0" if value == 0 and not curved else f"{value:.4f}" for value in bits[1:]]
        count = own[1].counts
        shares = " / ".join(f"{share:.2%}".replace("%", " %") for share in _shares(count.with_ties("below")))
        nearest = "–" if curved or any(bits) else f"{min(gap(site, statistics) for statistics in own):.3f}"
        before = pruned.result.dense.entropy[site.name]
        yield f"| {stem} | {site.label} | {before:.4f} | {shown[0]} | {shown[1]} | {shares} | {nearest} |"


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts.sum(axis=1) / counts.sum()


def accuracy_row(stem: str, path: Path, rows: list[str]) -> str:
    """Accuracy on each part, rectifiers, and how many of them are at zero entropy."""
    shown = " | ".join(f"{100 * accuracy(path, data):.2f} %" for data in split())
    return f"| {stem} | {shown} | {len(rows)} | {sum(not row.endswith('– |') for row in rows)} |"


def file_row(path: Path) -> str:
    """Size and hash."""
    content = path.read_bytes()
    return f"| {path.name} | {len(content):,} | `{hashlib.sha256(content).hexdigest()}` |"


def replaced(text: str, heading: str, rows: Iterable[str]) -> str:
    """README.md with these rows instead of those of the same first cell, in the table under `heading`."""
    new = list(rows)
    names = {row.split("|")[1] for row in new}
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(heading)) + 2
    end = next(at for at in range(start, len(lines)) if not lines[at].startswith("|"))
    old = [at for at in range(start, end) if lines[at].split("|")[1] in names]
    lines[old[0] : old[-1] + 1] = new
    return "\n".join(lines) + "\n"


def main(network: type[nn.Module], recipe: Recipe, config: PressConfig, stem: str, opset: int) -> None:
    """Builds one model and, beside it, the data."""
    parser = argparse.ArgumentParser(description=f"train and export {stem}.onnx")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: this one)")
    parser.add_argument("--update-readme", action="store_true", help="put the figures into README.md beside the script")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = given.out / f"{stem}.onnx"
    pruned = pressed(network, recipe, config)
    pruned.export(path, run, opset=opset, keep_norms=True, output="logits")
    save_data(given.out)
    rows = list(rectifier_rows(stem, pruned))
    files = [path, *(given.out / f"digits-{part}.npz" for part in PARTS[1:])]
    tables = {ACCURACY: [accuracy_row(stem, path, rows)], RECTIFIERS: rows}
    for row in [*tables[ACCURACY], *rows]:
        LOG.info("%s", row)
    if given.update_readme:
        readme = HERE / "README.md"
        text = readme.read_text(encoding="utf-8")
        for heading, new in tables.items():
            text = replaced(text, heading, new)
        for file in files:
            text = replaced(text, FILES, [file_row(file)])
        readme.write_text(text, encoding="utf-8")
