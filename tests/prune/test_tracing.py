from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from onnx_nepenthe.errors import UnsupportedError, UsageError  # noqa: E402
from onnx_nepenthe.prune.tracing import ByMode, trace  # noqa: E402


class Inside(nn.Module):
    """A network with `part` inside `layer`."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(4, 4), part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class OtherPath(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if self.training else x


class OtherConstant(nn.Module):
    """Everything that may follow the mode: a keyword, a number, an entry of a tuple and of a slice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(x, 0.5, self.training)
        x = x * (2.0 if self.training else 1.0)
        x = x.sum((0 if self.training else 1,), keepdim=True)
        return x[:, : 2 if self.training else 3]


class Chance(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(4)


class Coin(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if random.random() < 2 else -x


class Optional(nn.Module):
    def forward(self, x: torch.Tensor, scale: float = 2.0, mask: Any = None, *, shift: bool = True) -> torch.Tensor:
        x = x * scale
        x = x if mask is None else x * mask
        return x + 1 if shift else x


@pytest.mark.parametrize("part", [Branches(), Chance(), Coin()], ids=lambda part: type(part).__name__)
def test_the_part_that_cannot_be_followed_is_named_with_the_option_that_helps(part: nn.Module) -> None:
    with pytest.raises(
        UnsupportedError, match=r"^cannot trace layer\.1: .*mark it as a leaf \(--leaf layer\.1,"
    ) as error:
        trace(Inside(part), 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("leaf", ["layer.1", "layer.?", "*.1"])
@pytest.mark.parametrize("part", [Branches(), Chance(), Coin(), OtherPath()], ids=lambda part: type(part).__name__)
def test_as_a_leaf_it_is_called_as_it_is(part: nn.Module, leaf: str) -> None:
    network, x = Inside(part), torch.randn(4, 4)
    traced = trace(network, 1, (leaf,))
    for is_training in (True, False):
        network.train(is_training)
        traced.train(is_training)
        torch.manual_seed(1)
        expected = network(x)
        torch.manual_seed(1)
        assert torch.equal(traced(x), expected)


def test_a_forward_of_the_networks_own_has_no_name_to_mark() -> None:
    with pytest.raises(UnsupportedError, match=r"network's own forward.*move that part into a submodule"):
        trace(Branches(), 1)
    with pytest.raises(UnsupportedError, match="network's own forward: it draws random numbers"):
        trace(Chance(), 1)


def test_another_path_in_training_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"layer\.1: it takes another path in training"):
        trace(Inside(OtherPath()), 1)


class OwnTensor(nn.Module):
    """Makes a tensor in forward; another one in training on request."""

    def __init__(self, differs: bool) -> None:
        super().__init__()
        self.differs = differs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x, torch.full((4,), 1.0 if self.differs and self.training else 0.0)) + torch.arange(4)


def test_tensors_that_forward_makes_are_the_same_in_both_modes() -> None:
    network, x = Inside(OwnTensor(differs=False)), torch.randn(4, 4)
    assert torch.equal(trace(network, 1)(x), network(x))
    with pytest.raises(UnsupportedError, match=r"layer\.1: it takes another path in training"):
        trace(Inside(OwnTensor(differs=True)), 1)


def test_constants_follow_the_mode() -> None:
    network = Inside(OtherConstant())
    traced, x = trace(network, 1), torch.randn(4, 4)
    assert sum(isinstance(part, ByMode) for part in traced.modules()) == 4
    for is_training in (True, False, True):
        network.train(is_training)
        traced.train(is_training)
        torch.manual_seed(1)
        expected = network(x)
        torch.manual_seed(1)
        assert torch.equal(traced(x), expected)


@pytest.mark.parametrize("is_training", [True, False])
def test_modes_stay_as_they_were(is_training: bool) -> None:
    network = Inside(nn.BatchNorm1d(4)).train(is_training)
    network.layer[1].eval()
    traced = trace(network, 1)
    assert traced.training is is_training
    assert network.training is is_training
    assert traced.get_submodule("layer.1").training is network.layer[1].training is False


def test_arguments_that_are_not_given_keep_their_defaults() -> None:
    traced, x = trace(Optional(), 1), torch.randn(2, 3)
    assert torch.equal(traced(x), x * 2 + 1)
    assert [node.name for node in traced.graph.nodes if node.op == "placeholder"] == ["x"]


def test_arguments_that_are_given_are_inputs() -> None:
    network = Optional()
    traced, x, scale = trace(network, 2), torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(traced(x, scale), network(x, scale))


@pytest.mark.parametrize("given", [0, 4])
def test_another_number_of_inputs_is_an_error(given: int) -> None:
    with pytest.raises(UsageError, match=f"Optional takes .x, scale, mask.; the example has {given} inputs"):
        trace(Optional(), given)


def test_a_leaf_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no submodule is called 'layr\.1'; submodules are layer, layer\.0"):
        trace(Inside(Branches()), 1, ("layr.1",))
