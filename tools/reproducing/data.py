"""Data of the experiments: scikit-learn's digits, CIFAR-10 from files that are at hand, or any labelled .npz."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import TensorDataset

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.prune.batches import Splits

DIGITS_SPLIT_SEED = 1797
DIGITS_TRAIN, DIGITS_VALIDATION = 1000, 397
CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_VALIDATION = 5000
"""Images, where only some are trained on; a small set would stop a method by chance."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Case:
    """Data and what fits them.

    Attributes:
        name: for captions.
        splits: training, validation and test data, disjoint.
        flip, crop: augmentation.
    """

    name: str
    splits: Splits
    flip: bool = False
    crop: int = 0


def digits() -> Case:
    """1,797 grey images of 8x8: 1,000 train, 397 validate, 400 test; the same on every call."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 — needed for these data only

    found = load_digits()
    order = np.random.Generator(np.random.PCG64(DIGITS_SPLIT_SEED)).permutation(len(found.target))
    images = (found.data[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    labels = found.target[order].astype(np.int64)
    ends = (0, DIGITS_TRAIN, DIGITS_TRAIN + DIGITS_VALIDATION, len(order))
    parts = [dataset(images[a:b], labels[a:b]) for a, b in pairwise(ends)]
    return Case("digits", Splits(*parts), crop=1)


def cifar10(folder: Path, limit: int | None, seed: int = 0) -> Case:
    """CIFAR-10 from train.npz and test.npz: `jpeg` (bytes), `offsets`, `labels`; or `input` (N, 3, 32, 32), `labels`.

    A tenth of the training images validates. With `limit`, so many are trained on, up to 5,000 of the others validate,
    and so many are tested on.

    Raises:
        UnreadableError: the files are not there, or hold something else.
    """
    images, labels = _file(folder / "train.npz", None if limit is None else limit + CIFAR_VALIDATION)
    tests = _file(folder / "test.npz", limit)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(labels))
    held = max(len(order) // 10, 0 if limit is None else len(order) - limit)
    train, validation = np.sort(order[held:]), np.sort(order[:held])
    parts = [dataset(images[at], labels[at]) for at in (train, validation)]
    return Case("CIFAR-10", Splits(*parts, dataset(*tests)), flip=True, crop=4)


def dataset(images: Array, labels: Array) -> TensorDataset:
    """Arrays as a dataset."""
    return TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))


def _file(path: Path, limit: int | None) -> tuple[Array, Array]:
    if not path.is_file():
        raise UnreadableError(f"{path}: no such file; give the folder of train.npz and test.npz with --cifar10")
    with np.load(path, allow_pickle=False) as archive:
        names = set(archive.files)
        if "labels" not in names or not names & {"jpeg", "input"}:
            raise UnreadableError(
                f"{path}: holds {', '.join(sorted(names))}; jpeg and offsets, or input, and labels needed"
            )
        labels = archive["labels"].astype(np.int64)[:limit]
        if "input" in names:
            return archive["input"][:limit].astype(np.float32), labels
        return _decoded(archive["jpeg"], archive["offsets"], len(labels)), labels


def _decoded(jpeg: Array, offsets: Array, count: int) -> Array:
    from PIL import Image  # noqa: PLC0415 — needed for these data only

    ends = np.append(offsets, len(jpeg))[: count + 1].astype(np.int64)
    parts = pairwise(ends)
    images = np.stack([np.asarray(Image.open(io.BytesIO(jpeg[a:b].tobytes())).convert("RGB")) for a, b in parts])
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (CIFAR_MEAN, CIFAR_STD))
    scaled: Array = (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
    return scaled.astype(np.float32)
