"""Data as PyTorch takes them: whatever `sources` reads, as a map-style dataset of (input, label)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, Dataset, Subset

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import Source, SourceOptions, open_source
from onnx_nepenthe.sources.base import Piece
from onnx_nepenthe.sources.python import imported

INPUT = "input"
FINGERPRINT_SAMPLES = 1024
"""How many samples, evenly spaced, a fingerprint reads; the number of all of them is in it too."""
Sample = tuple[torch.Tensor, torch.Tensor]
T = TypeVar("T")


class Records(Dataset[Sample]):
    """Samples of a source, read when they are asked for.

    Attributes:
        name: what messages call the data.
    """

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self._at: list[tuple[Piece, int]] = [(piece, at) for piece in source.pieces() for at in range(piece.size)]
        if not self._at:
            raise UnreadableError(f"{self.name}: holds no samples")

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """One (input (…), label ()) for each of `indices`; neighbours of one piece are read together.

        Raises:
            UnreadableError: a sample that cannot be read, or one without a label.
        """
        found: list[Sample] = []
        for piece, run in groupby((self._at[index] for index in indices), key=lambda sample: sample[0]):
            batch = piece.read(np.asarray([at for _, at in run], np.int64))
            if batch.labels is None:
                raise UnreadableError(f"{self.name}: training needs labels; add an array 'labels' or class folders")
            inputs = torch.from_numpy(np.array(batch.feeds[INPUT]))
            found += zip(inputs.unbind(), torch.from_numpy(np.array(batch.labels)).unbind(), strict=True)
        return found


def open_data(
    spec: object, options: SourceOptions | None = None, *, channels: int | None = None
) -> Dataset[Sample] | DataLoader[Any]:
    """The data that `spec` means.

    Args:
        spec: path of a .npz file (one array of inputs and `labels`) or of a folder of images in class folders;
            "package.module:callable", which runs that code and returns a Dataset or a DataLoader of
            (input, label); from Python also such an object itself.
        options: how they are read; see `SourceOptions`.
        channels: of images; 3 when not given.

    Raises:
        UnreadableError: no such data, or data without labels.
        UsageError: a callable that returns something else.
    """
    if isinstance(spec, Dataset | DataLoader):
        return spec
    if isinstance(spec, str) and ":" in spec and not Path(spec).exists():
        return _called(spec)
    options = options or SourceOptions()
    is_folder = isinstance(spec, str | Path) and Path(spec).is_dir()
    size = options.image_size or (None, None)
    port = Tensor(INPUT, ("N", channels or 3, *size) if is_folder else None)
    return Records(open_source(spec, (port,), options))


def _called(spec: str) -> Dataset[Sample] | DataLoader[Any]:
    made: Any = _run(imported(spec), spec)
    if isinstance(made, Dataset | DataLoader):
        return made
    raise UsageError(
        f"{spec}: returned {type(made).__name__}; a torch Dataset or DataLoader of (input, label) is needed here"
    )


def _run(call: Callable[[], T], spec: str) -> T:
    try:
        return call()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableError(f"{spec}: the call raised {type(error).__name__}: {reason}") from error


def hold_out(data: Dataset[Sample], share: float, seed: int) -> tuple[Subset[Sample], Subset[Sample]]:
    """(the rest, `share` of the samples), disjoint, by chance; the same for the same seed.

    Raises:
        UsageError: a share that leaves one of them empty, or data without a length.
    """
    if not isinstance(data, Sized):
        raise UsageError(f"data without a length: {share:.0%} of them cannot be held out; give --validation")
    size = len(data)
    kept = round(size * (1 - share))
    if not 0 < kept < size:
        raise UsageError(f"holding {share:.0%} of {size} samples out leaves one part empty; give --validation")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(size).tolist()
    return Subset(data, sorted(order[:kept])), Subset(data, sorted(order[kept:]))


def example_of(data: Dataset[Sample] | DataLoader[Any]) -> torch.Tensor:
    """Inputs of the first two samples, (2, …), float or as the data have them: what a network is traced with.

    Raises:
        UnreadableError: there are none.
    """
    for inputs, _ in map(_pair, _batches(data, 2)):
        first: torch.Tensor = inputs[:2]
        return first if len(first) > 1 else torch.cat([first, first])
    raise UnreadableError("the data hold no samples")


def classes_of(*parts: Dataset[Sample] | DataLoader[Any] | None) -> int:
    """One more than the largest label of all parts of the data; None is no part.

    Raises:
        UsageError: labels that are no class numbers.
    """
    labels = [_pair(batch)[1] for part in parts if part is not None for batch in _batches(part, 256)]
    for one in labels:
        if one.is_floating_point() or one.ndim != 1:
            kind = str(one.dtype).removeprefix("torch.")
            raise UsageError(
                f"labels are {kind} of shape {tuple(one.shape)} for {len(one)} samples; each needs one class number "
                "(one-hot labels: .argmax(1))"
            )
    lowest = min(int(one.min()) for one in labels)
    if lowest < 0:
        raise UsageError(f"a label is {lowest}; classes are numbered from 0")
    return 1 + max(int(one.max()) for one in labels)


def fingerprint(data: Dataset[Sample] | DataLoader[Any]) -> str:
    """Hex digest of the number of samples and of up to 1,024 of them, evenly spaced, with their labels.

    Of a DataLoader it is that of its dataset; of one that can only be gone through, that of its first batch.
    """
    digest = hashlib.blake2b(digest_size=16)
    dataset = data.dataset if isinstance(data, DataLoader) else data
    if not isinstance(dataset, Sized):
        chosen: Iterable[Sample] = islice(_batches(data, 64), 1)
    else:
        size = len(dataset)
        digest.update(str(size).encode())
        chosen = _batches(Subset(dataset, range(0, size, max(1, size // FINGERPRINT_SAMPLES))), 64)
    for part in pytree.tree_leaves(list(chosen)):
        if isinstance(part, torch.Tensor):
            digest.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pair(batch: Any) -> Sample:
    if isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, torch.Tensor) for part in batch):
        return batch[0], batch[1]
    given = f"{len(batch)} values" if isinstance(batch, list | tuple) else f"a {type(batch).__name__}"
    raise UsageError(f"the data give {given} a sample; (input, label), a tensor and a class number, is needed")


def _batches(data: Dataset[Sample] | DataLoader[Any], batch: int) -> Iterable[Sample]:
    return data if isinstance(data, DataLoader) else DataLoader(data, batch)
