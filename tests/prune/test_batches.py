"""Batches of a data set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from onnx_nepenthe.prune import batches  # noqa: E402
from onnx_nepenthe.prune.batches import (  # noqa: E402
    ALONE,
    Loaded,
    Share,
    Shuffled,
    in_order,
    resident,
    seed_everything,
    unpack,
)
from onnx_nepenthe.prune.data import open_data  # noqa: E402
from onnx_nepenthe.prune.recipe import Recipe  # noqa: E402

CPU = torch.device("cpu")


def numbered(samples: int = 25) -> TensorDataset:
    return TensorDataset(torch.arange(samples).float().view(-1, 1), torch.arange(samples))


class Listed(Dataset[Any]):
    """The same samples, but not as tensors."""

    def __init__(self, samples: int = 25) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), torch.tensor(index)


def seen(steps: Sequence[Sequence[batches.Batch]]) -> list[int]:
    return [int(target) for step in steps for _, targets in step for target in targets]


@pytest.mark.parametrize("batch", [torch.ones(2), [torch.ones(2)], (torch.ones(2), None)])
def test_a_batch_may_have_no_targets(batch: Any) -> None:
    inputs, targets = unpack(batch, CPU)
    assert [list(part) for part in inputs] == [[1, 1]]
    assert targets is None


@pytest.mark.parametrize("batch", [(1, 2, 3), ((1, 2), 3)])
def test_several_inputs_come_in_a_row_or_in_a_tuple(batch: Any) -> None:
    def tensors(part: Any) -> Any:
        return tuple(map(tensors, part)) if isinstance(part, tuple) else torch.tensor(part)

    inputs, targets = unpack(tensors(batch), CPU)
    assert [int(part) for part in inputs] == [1, 2]
    assert targets is not None
    assert int(targets) == 3


@pytest.mark.parametrize("batch", [{"image": torch.ones(1)}, [], ("a", torch.ones(1))])
def test_what_is_no_batch_is_refused(batch: Any) -> None:
    with pytest.raises(UsageError, match=r"tensors are needed|batches of"):
        unpack(batch, CPU)


@pytest.mark.parametrize("data", [numbered(), Listed(), DataLoader(Listed(), 4, shuffle=True, drop_last=True)])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_counting_sees_every_sample_once_over_all_processes(data: Any, processes: int) -> None:
    shares = [Share(rank, processes) for rank in range(processes)]
    found = [list(in_order(data, 4, CPU, share)) for share in shares]
    assert sorted(seen(found)) == list(range(25))


def test_a_loader_with_a_sampler_of_its_own_is_taken_as_it_is() -> None:
    loader = DataLoader(Listed(), 2, sampler=SubsetRandomSampler(list(range(0, 25, 2))))
    parts = [list(in_order(loader, 4, CPU, Share(rank, 2))) for rank in (0, 1)]
    assert sorted(seen(parts)) == list(range(0, 25, 2))


@pytest.mark.parametrize("data", [numbered(), Listed()])
def test_a_training_batch_is_the_same_however_it_is_shared_out(data: Any) -> None:
    def steps(share: Share, accumulate: int) -> list[Any]:
        return list(Shuffled(data, Recipe(batch=8, accumulate=accumulate), CPU, share).epoch(3))

    whole = [set(seen([step])) for step in steps(ALONE, 1)]
    halves = [steps(Share(rank, 2), 2) for rank in (0, 1)]
    assert [len(step) for step in halves[0]] == [2, 2, 2]
    assert [set(seen([a])) | set(seen([b])) for a, b in zip(*halves, strict=True)] == whole


def test_the_seed_decides_the_order() -> None:
    shuffled = Shuffled(numbered(), Recipe(batch=5), CPU)
    first, again, other = (seen(list(shuffled.epoch(seed))) for seed in (1, 1, 2))
    assert sorted(first) == list(range(25))
    assert first == again != other


def test_a_rest_of_one_sample_is_left_out() -> None:
    assert Shuffled(numbered(25), Recipe(batch=8), CPU).steps == 3
    assert Shuffled(numbered(26), Recipe(batch=8), CPU).steps == 4
    assert Shuffled(numbered(26), Recipe(batch=8), CPU, Share(0, 2)).steps == 3


def test_data_too_few_for_a_step_are_refused() -> None:
    with pytest.raises(UsageError, match="1 training samples are too few for a batch of 8"):
        Shuffled(numbered(1), Recipe(batch=8), CPU)


def test_augmentation_needs_images() -> None:
    with pytest.raises(UsageError, match="flip and crop are for images"):
        next(Shuffled(numbered(), Recipe(batch=8, flip=True), CPU).epoch(0))


def test_images_are_augmented_by_the_seed_of_the_epoch() -> None:
    data = TensorDataset(torch.rand(12, 1, 4, 4), torch.arange(12))
    shuffled = Shuffled(data, Recipe(batch=12, flip=True, crop=1), CPU)
    first, again, other = (next(shuffled.epoch(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first[0][0], again[0][0])
    plain = data.tensors[0][other[1]]
    assert not torch.equal(other[0][0], plain)


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_a_loader_starts_every_epoch_from_our_seed(generator: Any) -> None:
    loader = DataLoader(Listed(), 4, shuffle=True, generator=generator)
    loaded = Loaded(loader, Recipe(accumulate=3), CPU)

    def order(seed: int) -> list[int]:
        seed_everything(seed)
        return seen(list(loaded.epoch(seed)))

    assert loaded.steps == 3
    assert sorted(order(1)) == list(range(25))
    assert order(1) == order(1) != order(2)


def test_a_stream_without_a_length_cannot_be_planned_for() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(UsageError, match="have no length"):
        Loaded(DataLoader(Stream(), 2), Recipe(), CPU)


def test_what_is_made_of_tensors_is_kept_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "d.npz", image=np.arange(6, dtype=np.float32).reshape(6, 1), labels=np.arange(6))
    records = open_data(tmp_path / "d.npz")
    for data, expected in ((numbered(3), [0, 1, 2]), (records, [*range(6)]), (Subset(records, [4, 1]), [4, 1])):
        kept = resident(data, CPU)
        assert isinstance(kept, TensorDataset)
        assert kept.tensors[1].tolist() == expected
    listed = Listed()
    assert resident(listed, CPU) is listed
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 20)
    assert resident(records, CPU) is records


def test_seeding_reaches_all_three_generators() -> None:
    def draws(seed: int) -> tuple[float, float, float]:
        seed_everything(seed)
        return float(torch.rand(())), float(np.random.rand()), random.random()

    assert draws(4) == draws(4)
    assert not set(draws(4)) & set(draws(5))
