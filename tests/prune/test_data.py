"""Data for training: whatever the sources read, as datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UnreadableError, UsageError

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402

from onnx_nepenthe.prune.data import (  # noqa: E402
    classes_of,
    example_of,
    fingerprint,
    hold_out,
    open_data,
)
from onnx_nepenthe.sources import SourceOptions  # noqa: E402


def archive(folder: Path, samples: int = 10, **more: Any) -> Path:
    path = folder / "data.npz"
    images = np.arange(samples * 4, dtype=np.float32).reshape(samples, 1, 2, 2)
    np.savez(path, **({"image": images, "labels": np.arange(samples) % 3} | more))  # type: ignore[arg-type]
    return path


def test_an_archive_becomes_a_dataset_whatever_its_array_is_called(tmp_path: Path) -> None:
    data = open_data(archive(tmp_path))
    image, label = data[7]
    assert image.tolist() == [[[28.0, 29.0], [30.0, 31.0]]]
    assert int(label) == 1
    assert classes_of(data) == 3


def test_a_loader_reads_in_the_order_it_asks_for(tmp_path: Path) -> None:
    data = open_data(archive(tmp_path))
    (first, labels), *_ = DataLoader(data, sampler=[9, 0, 4], batch_size=3)
    assert first[:, 0, 0, 0].tolist() == [36.0, 0.0, 16.0]
    assert labels.tolist() == [0, 0, 1]


def test_a_folder_of_images_is_decoded_when_asked_for(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 4), (255 * number, 0, 0)).save(tmp_path / name / "one.png")
    data = open_data(tmp_path, SourceOptions(image_size=(4, 4)))
    image, label = data[1]
    assert image.shape == (3, 4, 4)
    assert image[0].min() == 1
    assert int(label) == 1


def test_data_without_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.npz"
    np.savez(path, image=np.zeros((3, 2), np.float32))
    data = open_data(path)
    with pytest.raises(UnreadableError, match="training needs labels"):
        data[0]


def test_what_a_callable_returns_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "def data():\n    return TensorDataset(torch.zeros(4, 3), torch.ones(4))\n"
        "def wrong():\n    return 3\n"
        "def broken():\n    raise RuntimeError('no disk')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert len(open_data("mine:data")) == 4  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="returned int; a torch Dataset or DataLoader"):
        open_data("mine:wrong")
    with pytest.raises(UnreadableError, match="raised RuntimeError: no disk"):
        open_data("mine:broken")


def test_parts_that_are_held_out_share_no_sample_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    data = open_data(archive(tmp_path, 50))
    rest, held = hold_out(data, 0.2, seed=1)
    assert len(held) == 10
    assert not set(rest.indices) & set(held.indices)
    assert held.indices == hold_out(data, 0.2, seed=1)[1].indices
    assert held.indices != hold_out(data, 0.2, seed=2)[1].indices
    with pytest.raises(UsageError, match="--validation"):
        hold_out(data, 0.001, seed=1)


def test_an_example_has_two_samples_even_when_there_is_one(tmp_path: Path) -> None:
    assert example_of(open_data(archive(tmp_path, 1))).shape == (2, 1, 2, 2)
    assert example_of(open_data(archive(tmp_path, 5))).shape == (2, 1, 2, 2)


def test_fingerprints_differ_with_pixels_labels_and_number(tmp_path: Path) -> None:
    same = fingerprint(open_data(archive(tmp_path)))
    assert same == fingerprint(open_data(archive(tmp_path)))
    assert same == fingerprint(DataLoader(open_data(archive(tmp_path)), 2, shuffle=True))
    others = {
        fingerprint(open_data(archive(tmp_path, 11))),
        fingerprint(open_data(archive(tmp_path, labels=np.ones(10, np.int64)))),
        fingerprint(open_data(archive(tmp_path, image=np.ones((10, 1, 2, 2), np.float32)))),
    }
    assert len({same, *others}) == 4


def test_data_of_several_inputs_have_a_fingerprint() -> None:
    x, y = torch.zeros(4, 2), torch.arange(4)
    pairs, triples = TensorDataset(x, y), TensorDataset(x, x.to(torch.bfloat16), y)
    assert len({fingerprint(pairs), fingerprint(triples), fingerprint(TensorDataset(x))}) == 3
    assert fingerprint(triples) == fingerprint(DataLoader(triples, 3))


def test_data_that_can_only_be_gone_through_have_a_fingerprint() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([(torch.zeros(2), torch.tensor(1))])

    assert fingerprint(DataLoader(Stream(), 1)) == fingerprint(DataLoader(Stream(), 1))


def test_samples_that_are_no_pair() -> None:
    x = torch.zeros(4, 2)
    for data, words in (((x,), "1 values"), ((x, x, x), "3 values")):
        with pytest.raises(UsageError, match=f"the data give {words} a sample"):
            example_of(TensorDataset(*data))


def test_classes_are_those_of_all_parts() -> None:
    """A rare class may be among the samples that were held out."""
    x, few, more = torch.zeros(3, 2), torch.tensor([0, 1, 1]), torch.tensor([0, 4, 1])
    assert classes_of(TensorDataset(x, few), None, TensorDataset(x, more)) == 5


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.eye(3), r"float32 of shape \(3, 3\)"),
        (torch.eye(3).long(), r"int64 of shape \(3, 3\)"),
        (torch.tensor([0.0, 1.0, 2.0]), "float32"),
        (torch.tensor([-1, 0, 1]), "a label is -1"),
    ],
)
def test_labels_that_are_no_class_numbers(labels: torch.Tensor, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        classes_of(TensorDataset(torch.zeros(3, 2), labels))


def test_nothing_can_be_held_out_of_data_without_a_length() -> None:
    class Endless(IterableDataset[Any]):
        """Goes on."""

        def __iter__(self) -> Any:
            return iter(())

    with pytest.raises(UsageError, match="data without a length"):
        hold_out(Endless(), 0.1, 0)
