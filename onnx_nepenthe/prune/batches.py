"""Batches of a data set: shuffled for training, in order for counting; the same whatever the number of processes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, Subset, TensorDataset

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.augment import augmented
from onnx_nepenthe.prune.data import Records
from onnx_nepenthe.prune.recipe import Recipe

Data = Dataset[Any] | DataLoader[Any]
Batch = tuple[tuple[Tensor, ...], Tensor | None]
"""(inputs, targets), on the device."""
RESIDENT_BYTES = 4 << 30
"""Data up to this size stay on the device for good."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Data that share no samples.

    Attributes:
        train: trained and counted on.
        validation: decides when to stop; None when training is somebody's own.
        test: looked at once, for the final report.
    """

    train: Data
    validation: Data | None = None
    test: Data | None = None


@dataclass(frozen=True)
class Share:
    """Which part of the work is this process's.

    Attributes:
        rank: of this process, from 0.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1


ALONE = Share()


def seed_everything(seed: int) -> int:
    """Seeds torch, numpy and random with a number of its own made of `seed`; returns that number."""
    own = int(np.random.SeedSequence(seed).generate_state(1)[0])
    torch.manual_seed(own)
    np.random.seed(own)
    random.seed(own)
    return own


def derived(*numbers: int) -> int:
    """One seed made of several numbers; other numbers give an unrelated one."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def unpack(batch: Any, device: torch.device) -> Batch:
    """What a loader gives, as inputs and targets on `device`.

    Args:
        batch: a Tensor, or (inputs, targets), or (input, …, targets); inputs a Tensor or a sequence of them; targets
            a Tensor or None.

    Raises:
        UsageError: anything else.
    """
    parts = [batch] if isinstance(batch, Tensor) else batch
    if not isinstance(parts, list | tuple) or not parts:
        raise UsageError(f"the data give a {type(batch).__name__}; batches of (inputs, targets) are needed")
    *inputs, targets = parts if len(parts) > 1 else [*parts, None]
    inputs = list(inputs[0]) if len(inputs) == 1 and isinstance(inputs[0], list | tuple) else inputs
    for part in (*inputs, targets):
        if not isinstance(part, Tensor) and part is not targets:
            raise UsageError(f"the data give a {type(part).__name__} as an input; tensors are needed")
    moved = tuple(part.to(device, non_blocking=True) for part in inputs)
    return moved, targets.to(device, non_blocking=True) if isinstance(targets, Tensor) else None


def resident(data: Data, device: torch.device) -> Data:
    """`data` with its tensors on `device`, when it is made of tensors that fit; otherwise `data` itself."""
    if isinstance(data, Subset) and isinstance(whole := _in_memory(data.dataset), TensorDataset):
        chosen = torch.as_tensor(list(data.indices))
        data = TensorDataset(*(tensor[chosen.to(tensor.device)] for tensor in whole.tensors))
    elif isinstance(data, Dataset):
        data = _in_memory(data)
    if not isinstance(data, TensorDataset) or _size_bytes(data.tensors) > RESIDENT_BYTES:
        return data
    return TensorDataset(*(tensor.to(device) for tensor in data.tensors))


def _in_memory(data: Dataset[Any]) -> Dataset[Any]:
    if not isinstance(data, Records) or _size_bytes(data[0]) * len(data) > RESIDENT_BYTES:
        return data
    samples = data.__getitems__(range(len(data)))
    return TensorDataset(*(torch.stack(column) for column in zip(*samples, strict=True)))


def _size_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def in_order(data: Data, batch: int, device: torch.device, share: Share = ALONE) -> Iterator[Batch]:
    """Every sample once over all processes, in the order of the data; never one twice, whatever their number."""
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, SequentialSampler | RandomSampler) and data.batch_size:
            workers, collate = data.num_workers, data.collate_fn
            yield from _listed(data.dataset, data.batch_size, device, share, workers, collate)
            return
        seed_everything(0)
        yield from (unpack(one, device) for one in islice(data, share.rank, None, share.processes))
        return
    if isinstance(data, TensorDataset):
        for start in range(share.rank * batch, len(data), share.processes * batch):
            yield unpack([tensor[start : start + batch] for tensor in data.tensors], device)
        return
    yield from _listed(data, batch, device, share)


def _listed(
    data: Dataset[Any], batch: int, device: torch.device, share: Share, workers: int = 0, collate: Any = None
) -> Iterator[Batch]:
    size = length(data)
    starts = range(share.rank * batch, size, share.processes * batch)
    groups = [list(range(start, min(start + batch, size))) for start in starts]
    loader = DataLoader(data, batch_sampler=groups, num_workers=workers, collate_fn=collate)
    yield from (unpack(one, device) for one in loader)


def length(data: Data) -> int:
    """Samples of a data set, batches of a loader.

    Raises:
        UsageError: it has no length.
    """
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError("the data have no length; give a Dataset, or a DataLoader whose length is known") from None


class Shuffled:
    """Training batches of a data set, epoch by epoch.

    Attributes:
        steps: optimiser steps of one epoch.
    """

    def __init__(self, data: Dataset[Any], recipe: Recipe, device: torch.device, share: Share = ALONE) -> None:
        self._data, self._recipe, self._device, self._share = data, recipe, device, share
        self._size = length(data)
        # A rest too small to give every part two samples would leave a BatchNorm without a variance.
        rest = self._size % recipe.batch
        self.steps = self._size // recipe.batch + (rest >= 2 * share.processes * recipe.accumulate)
        if not self.steps:
            raise UsageError(f"{self._size} training samples are too few for a batch of {recipe.batch}")

    def epoch(self, seed: int) -> Iterator[list[Batch]]:
        """The parts of each optimiser step that are this process's, shuffled and augmented by `seed` alone."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self._size, generator=generator)
        own = torch.Generator().manual_seed(derived(seed, self._share.rank))
        starts = range(0, self.steps * self._recipe.batch, self._recipe.batch)
        steps = (order[start : start + self._recipe.batch] for start in starts)
        parts = [part for step in steps for part in self._mine(step)]
        batches = (self._augmented(batch, own) for batch in self._read(parts, own))
        while step := list(islice(batches, self._recipe.accumulate)):
            yield step

    def _mine(self, step: Tensor) -> Iterator[Tensor]:
        count, first = self._recipe.accumulate, self._share.rank * self._recipe.accumulate
        yield from (step[first + part :: self._share.processes * count] for part in range(count))

    def _read(self, parts: Sequence[Tensor], generator: torch.Generator) -> Iterator[Batch]:
        if isinstance(self._data, TensorDataset):
            for part in parts:
                yield unpack([t[part.to(t.device)] for t in self._data.tensors], self._device)
            return
        indices = [part.tolist() for part in parts]
        loader = DataLoader(
            self._data,
            batch_sampler=indices,
            num_workers=self._recipe.workers,
            generator=generator,
            pin_memory=self._device.type == "cuda",
        )
        yield from (unpack(batch, self._device) for batch in loader)

    def _augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        flip, crop = self._recipe.flip, self._recipe.crop
        inputs, targets = batch
        if not (flip or crop):
            return batch
        if len(inputs) != 1 or inputs[0].ndim != 4:
            raise UsageError("flip and crop are for images (N, C, H, W); leave them out for these data")
        return (augmented(inputs[0], flip=flip, crop=crop, generator=generator),), targets


class Loaded:
    """Training batches as somebody's DataLoader gives them, which is made to start every epoch from our seed.

    Attributes:
        steps: optimiser steps of one epoch.
    """

    def __init__(self, loader: DataLoader[Any], recipe: Recipe, device: torch.device) -> None:
        self._loader, self._accumulate, self._device = loader, recipe.accumulate, device
        self.steps = -(-length(loader) // recipe.accumulate)

    def epoch(self, seed: int) -> Iterator[list[Batch]]:
        """The parts of each optimiser step."""
        loader = self._loader
        samplers = [loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]
        for holder in chain([loader], samplers):
            for name in ("generator", "synchronized_generator"):
                generator = getattr(holder, name, None)
                if isinstance(generator, torch.Generator):
                    generator.manual_seed(seed)
        batches = (unpack(batch, self._device) for batch in loader)
        while step := list(islice(batches, self._accumulate)):
            yield step


TrainingBatches = Shuffled | Loaded
