"""Networks and data that do not go together are refused before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from onnx_nepenthe.errors import UnsupportedError, UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from onnx_nepenthe.prune.api import batches_of, prune  # noqa: E402
from onnx_nepenthe.prune.batches import Splits  # noqa: E402
from onnx_nepenthe.prune.recipe import Recipe  # noqa: E402
from onnx_nepenthe.prune.trial import check_trial  # noqa: E402

X = torch.linspace(-1, 1, 24).reshape(12, 2)
Y = torch.arange(12) % 3
NUMBERS = TensorDataset(X, Y)
PROBABILITIES = TensorDataset(X, nn.functional.one_hot(Y).float())


class Returning(nn.Module):
    """Something around a dense layer's result."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.dense, self.wrap = nn.Linear(2, 3), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.dense(x))


def test_class_numbers_and_probabilities_are_fine() -> None:
    for data in (NUMBERS, PROBABILITIES, TensorDataset(X, Y.to(torch.uint8))):
        check_trial(nn.Linear(2, 3), Splits(data, data, data))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Linear(2, 3).requires_grad_(False), "no parameter of the network is to be trained"),
        (Returning(lambda y: (y, y)), "returns a tuple; one tensor"),
        (Returning(lambda y: {"logits": y}), "returns a dict; one tensor"),
        (Returning(lambda y: y.sum()), r"returns shape \(\)"),
        (Returning(lambda y: y[:, 0]), r"returns shape \(2,\)"),
    ],
)
def test_networks_that_give_no_classes(network: nn.Module, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_trial(network, Splits(NUMBERS))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TensorDataset(X), "the training data have no labels"),
        (TensorDataset(X[:0], Y[:0]), "the training data hold no samples"),
        (TensorDataset(X, Y.float()), r"float32 of shape \(2,\)"),
        (TensorDataset(X, Y[:, None]), r"int64 of shape \(2, 1\)"),
        (TensorDataset(X, nn.functional.one_hot(Y)), r"int64 of shape \(2, 3\).*argmax"),
    ],
)
def test_labels_that_are_none(data: TensorDataset, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_trial(nn.Linear(2, 3), Splits(data))


def test_every_part_is_looked_at() -> None:
    with pytest.raises(UsageError, match="others probabilities"):
        check_trial(nn.Linear(2, 3), Splits(NUMBERS, NUMBERS, PROBABILITIES))
    with pytest.raises(UnsupportedError, match="cannot be run on the example"):
        check_trial(nn.Linear(2, 3), Splits(NUMBERS, TensorDataset(torch.zeros(2, 5), Y[:2])))


def test_prune_asks_first() -> None:
    with pytest.raises(UsageError, match="returns a tuple"):
        prune(Returning(lambda y: (y, y)), NUMBERS, validation=NUMBERS, recipe=Recipe(epochs=1, batch=4))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Linear(2, 3), "the network calls no activation that can be pruned"),
        (
            nn.Sequential(nn.ReLU(), nn.Linear(2, 3)),
            "no activation can be pruned; 0: no convolution or dense layer of its own makes its channels",
        ),
    ],
)
def test_networks_without_anything_to_prune_are_not_trained(network: nn.Module, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prune(network, NUMBERS, validation=NUMBERS, recipe=Recipe(epochs=1, batch=4))


def test_probabilities_can_be_trained_on_and_told_right_from_wrong() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    recipe = Recipe(epochs=1, batch=4, lr=0.01)
    one, other = (
        prune(network, data, validation=data, method="easier", theta="0", recipe=recipe).result
        for data in (NUMBERS, PROBABILITIES)
    )
    assert [entry.accuracy for entry in one.rounds] == [entry.accuracy for entry in other.rounds]


def test_reports_see_every_sample_of_a_loader_that_drops_some() -> None:
    """Regimes and the accuracy of the collapsed network are of the samples that the pruned one was judged by."""
    loader = DataLoader(NUMBERS, 5, shuffle=True, drop_last=True)
    inputs, labels = (torch.cat(part) for part in zip(*batches_of(loader, 4), strict=True))
    assert torch.equal(inputs, X)
    assert torch.equal(labels, Y)
    with pytest.raises(UsageError, match="no labels"):
        next(batches_of(TensorDataset(X), 4))
