from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.prune.merge import merge  # noqa: E402
from onnx_nepenthe.prune.narrowing import narrow  # noqa: E402
from onnx_nepenthe.prune.padding import Move, move_padding  # noqa: E402
from tests.helpers.pruning import linear_subject  # noqa: E402


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 3, 9, 9), generator=torch.Generator().manual_seed(0))


def pair(s1: int, s2: int, *, groups: int = 1, kernels: tuple[int, int] = (3, 3), **second: Any) -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, kernels[0], s1, kernels[0] // 2)
    last = nn.Conv2d(4, 4, kernels[1], s2, **({"padding": kernels[1] // 2, "groups": groups} | second))
    return nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), last, nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    "network",
    [
        *(pair(s1, s2) for s1, s2 in ((1, 1), (2, 1), (1, 2), (2, 2))),
        pair(1, 1, groups=4),
        pair(1, 2, kernels=(1, 5)),
        pair(2, 1, padding=2, dilation=2),
    ],
    ids=["1-1", "2-1", "1-2", "2-2", "depthwise", "pointwise first", "dilated"],
)
def test_with_all_padding_in_front_two_convolutions_are_one(network: nn.Module) -> None:
    x = image()
    made = linear_subject(network, x)
    size = made.module(x).shape
    before = merge(made.module)
    assert [part for part in before.module.modules() if isinstance(part, nn.Conv2d)][1:] != []
    moves = move_padding(made)
    assert [(move.first, move.second) for move in moves] == [("0", "4")]
    with torch.no_grad():
        expected = made.module(x)
        after = merge(made.module)
        found = after.module(x)
    assert expected.shape == found.shape == size
    assert len([part for part in after.module.modules() if isinstance(part, nn.Conv2d)]) == 1
    assert after.notes == ()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("conv", "spatial"), [(nn.Conv1d, 1), (nn.Conv3d, 3)])
def test_any_number_of_axes(conv: Any, spatial: int) -> None:
    torch.manual_seed(0)
    x = image(2, 3, *(6,) * spatial)
    made = linear_subject(nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU(), conv(4, 2, 3, padding=1)), x)
    assert [move.padding for move in move_padding(made)] == [(1,) * spatial]
    with torch.no_grad():
        merged = merge(made.module).module
        torch.testing.assert_close(merged(x), made.module(x), rtol=1e-5, atol=1e-5)
    assert [type(part) for part in merged.modules()].count(conv) == 1


def test_padding_goes_to_the_first_of_a_long_run() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, (1, 0))]
    x = image(2, 3, 16, 16)
    made = linear_subject(nn.Sequential(*layers), x)
    size = made.module(x).shape
    assert move_padding(made) == (Move("0", "2", (2, 1)), Move("2", "4", (1, 0)))
    assert [made.feeder(name).padding for name in ("0", "2")] == [(5, 3), (0, 0)]
    assert made.module.get_submodule("4").padding == (0, 0)
    assert move_padding(made) == ()
    with torch.no_grad():
        merged = merge(made.module)
        assert made.module(x).shape == size
        torch.testing.assert_close(merged.module(x), made.module(x), rtol=1e-5, atol=1e-5)
    assert list(merged.parts.values()) == [("0", "rectifiers._1", "2", "rectifiers._3", "4")]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(self.first(x)))


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return x + self.conv(x)


@pytest.mark.parametrize(
    "network",
    [
        Shared(),
        ReadTwice(),
        pair(1, 1, padding=0),
        pair(1, 1, padding="same"),
        pair(1, 1, padding_mode="reflect"),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Conv2d(4, 4, 3, padding=1)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)),
    ],
    ids=["called twice", "read twice", "none", "same", "reflect", "circular first", "pool", "transposed"],
)
def test_padding_stays_where_a_run_ends(network: nn.Module) -> None:
    made = linear_subject(network, image())
    before = made.module(image())
    assert move_padding(made) == ()
    assert torch.equal(made.module(image()), before)


def test_a_rectifier_that_is_active_ends_a_run() -> None:
    made = linear_subject(pair(1, 1), image())
    made.rectifier(made.sites[0].name).set_active()
    assert move_padding(made) == ()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_narrowed_convolution_hands_on_what_it_gets(stride: int) -> None:
    """It keeps the padding that its own kernel needs, or a later one could not compose with the first."""
    x = image()
    torch.manual_seed(0)
    convs = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride, padding=1), nn.Conv2d(4, 4, 3, 1, 1, groups=4)]
    made = linear_subject(nn.Sequential(*(part for conv in convs for part in (conv, nn.ReLU()))), x)
    size = made.module(x).shape
    (narrowed,) = narrow(made, lambda: [(x, None)])
    assert narrowed.conv == "2"
    assert move_padding(made, [narrowed.conv]) == (Move("0", "2", (stride,) * 2), Move("2", "4", (1, 1)))
    with torch.no_grad():
        merged = merge(made.module)
        assert made.module(x).shape == size
        torch.testing.assert_close(merged.module(x), made.module(x), rtol=1e-4, atol=1e-5)
    assert len([part for part in merged.module.modules() if isinstance(part, nn.Conv2d)]) == 1
