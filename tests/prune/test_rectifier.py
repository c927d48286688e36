from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.activations import Activation  # noqa: E402
from onnx_nepenthe.prune.records import Site  # noqa: E402
from onnx_nepenthe.prune.rectifier import Rectifier  # noqa: E402

RELU = Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)))


def make(axis: int = 1, function: nn.Module | None = None) -> tuple[Rectifier, torch.Tensor]:
    torch.manual_seed(0)
    z = torch.randn((4, 3, 5, 5) if axis == 1 else (4, 5, 5, 3))
    return Rectifier(Site("relu", "relu", "Relu", RELU, axis, 3), function or nn.ReLU(), z), z


def along(values: list[float], axis: int) -> torch.Tensor:
    return torch.tensor(values).view((-1, 1, 1) if axis == 1 else (-1,))


def test_at_first_it_is_the_function() -> None:
    rectifier, z = make()
    assert torch.equal(rectifier(z), z.relu())
    assert rectifier.mode == "active"
    assert [p for p in rectifier.parameters() if p.requires_grad] == []


@pytest.mark.parametrize("axis", [1, 3])
def test_a_line_per_channel_along_the_sites_axis(axis: int) -> None:
    rectifier, z = make(axis)
    rectifier.set_line([1.0, 2.0, 0.5], [0.0, 1.0, -1.0])
    assert torch.equal(rectifier(z), z * along([1.0, 2.0, 0.5], axis) + along([0.0, 1.0, -1.0], axis))
    assert rectifier.line()[0].tolist() == [1.0, 2.0, 0.5]
    assert {name for name, p in rectifier.named_parameters() if p.requires_grad} == {"slope", "intercept"}


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("mode", ["active", "line", "fold"])
def test_channels_that_are_off_are_0_in_every_mode(mode: str, axis: int) -> None:
    rectifier, z = make(axis)
    if mode == "line":
        rectifier.set_line(2.0, 3.0)
    if mode == "fold":
        rectifier.set_fold(0.5)
    before = rectifier(z)
    rectifier.turn_off(np.array([False, True, False]))
    rectifier.turn_off(np.array([True, False, False]))
    kept = along([0.0, 0.0, 1.0], axis)
    assert torch.equal(rectifier(z), before * kept)
    assert rectifier.line()[0][:2].tolist() == rectifier.line()[1][:2].tolist() == [0.0, 0.0]


def test_a_fold_is_a_mixture_that_is_trained() -> None:
    rectifier, z = make()
    rectifier.set_fold(0.25)
    assert torch.allclose(rectifier(z), 0.25 * z + 0.75 * z.relu())
    rectifier(z).sum().backward()
    assert rectifier.alpha.grad is not None
    assert float(rectifier.alpha.grad) == pytest.approx(float((z - z.relu()).sum()), rel=1e-4)
    assert {name for name, p in rectifier.named_parameters() if p.requires_grad} == {"alpha"}


def test_a_line_is_trained() -> None:
    rectifier, z = make()
    rectifier.set_line(1.0, 0.0)
    rectifier(z).sum().backward()
    assert rectifier.slope.grad is not None
    assert torch.allclose(rectifier.slope.grad, z.sum((0, 2, 3)), atol=1e-5)


def test_it_goes_back_to_the_function() -> None:
    rectifier, z = make()
    rectifier.set_line(1.0, 0.0)
    rectifier.set_active()
    assert torch.equal(rectifier(z), z.relu())
    assert not rectifier.slope.requires_grad


@pytest.mark.parametrize("mode", ["active", "line", "fold"])
def test_the_state_dict_says_what_it_computes(mode: str) -> None:
    rectifier, z = make(function=nn.PReLU(3))
    rectifier.function.weight.data = torch.tensor([0.1, 0.2, 0.3])
    if mode == "line":
        rectifier.set_line([1.0, 2.0, 0.5], [0.1, 0.2, 0.3])
    if mode == "fold":
        rectifier.set_fold(0.3)
    rectifier.turn_off(np.array([False, True, False]))
    fresh, _ = make(function=nn.PReLU(3))
    keys = list(fresh.state_dict())
    fresh.load_state_dict(rectifier.state_dict())
    assert keys == list(rectifier.state_dict())
    assert torch.equal(fresh(z), rectifier(z))
    assert fresh.mode == mode
    assert [p.requires_grad for p in fresh.parameters()] == [p.requires_grad for p in rectifier.parameters()]


def test_a_copy_is_on_its_own() -> None:
    rectifier, z = make()
    other = copy.deepcopy(rectifier)
    other.set_line(3.0, 0.0)
    assert torch.equal(rectifier(z), z.relu())
    assert torch.equal(other(z), 3 * z)


def test_it_follows_the_type_of_the_network() -> None:
    rectifier, z = make()
    rectifier.double().set_line(1.5, 0.0)
    assert rectifier(z.double()).dtype == torch.float64


@pytest.mark.parametrize("mode", ["active", "line", "fold"])
def test_it_keeps_the_type_of_what_it_is_given(mode: str) -> None:
    rectifier, z = make()
    rectifier.turn_off(np.array([False, True, False]))
    if mode == "line":
        rectifier.set_line(1.5, 0.5)
    if mode == "fold":
        rectifier.set_fold(0.5)
    assert rectifier(z.bfloat16()).dtype == torch.bfloat16


def test_it_says_what_it_is() -> None:
    rectifier, _ = make()
    rectifier.turn_off(np.array([False, True, False]))
    assert "relu, mode=active, channels=3, off=1" in repr(rectifier)
