from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from onnx_nepenthe.prune.records import Site  # noqa: E402
from onnx_nepenthe.prune.sites import find_sites  # noqa: E402


class Net(nn.Module):
    """A few layers and a forward that is given as a function."""

    def __init__(self, run: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.run = run
        self.conv, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.bn, self.ln, self.pool = nn.BatchNorm2d(4), nn.LayerNorm(8), nn.MaxPool2d(2)
        self.line, self.up = nn.Linear(4, 4), nn.ConvTranspose2d(3, 4, 2)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.gate, self.drop = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid()), nn.Dropout2d()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def last_site(run: Callable[[Net, torch.Tensor], torch.Tensor], *shape: int) -> Site:
    torch.manual_seed(0)
    _, sites = find_sites(Net(run), torch.randn(shape or (2, 3, 8, 8)))
    return sites[-1]


MADE_BY: dict[str, tuple[Callable[[Net, torch.Tensor], torch.Tensor], str, int, str | None, bool]] = {
    "itself": (lambda net, x: net.conv(x).relu(), "conv", 1, None, False),
    "transposed convolution": (lambda net, x: net.up(x).relu(), "up", 1, None, False),
    "norm": (lambda net, x: net.bn(net.conv(x)).relu(), "conv", 1, "bn", True),
    "dropout": (lambda net, x: net.drop(F.dropout(net.bn(net.conv(x)))).relu(), "conv", 1, "bn", True),
    "pool": (lambda net, x: net.pool(net.bn(net.conv(x))).relu(), "conv", 1, "bn", False),
    "functional pool": (lambda net, x: F.max_pool2d(net.conv(x), 2).relu(), "conv", 1, None, False),
    "layer norm": (lambda net, x: net.ln(net.conv(x)).relu(), "conv", 1, None, False),
    "number": (lambda net, x: (2 * net.conv(x) / 3 - 1).relu(), "conv", 1, None, False),
    "parameter": (lambda net, x: (net.bn(net.conv(x)) * net.scale).relu(), "conv", 1, "bn", False),
    "gate": (lambda net, x: _gated(net, net.conv(x)).relu(), "conv", 1, None, False),
    "function of a gate": (lambda net, x: (net.conv(x) * torch.sigmoid(x.mean())).relu(), "conv", 1, None, False),
    "skip": (lambda net, x: _skipped(net, net.conv(x).relu()), "other", 1, "bn", False),
    "skip first": (lambda net, x: _skipped(net, net.conv(x).relu(), first=True), "other", 1, "bn", False),
    "deeper branch": (lambda net, x: _deepest(net, net.conv(x).relu()), "deep.2", 1, None, False),
    "permute": (lambda net, x: net.conv(x).permute(0, 2, 3, 1).relu(), "conv", 3, None, False),
    "permute, a tuple": (lambda net, x: torch.permute(net.conv(x), (0, 2, 3, 1)).relu(), "conv", 3, None, False),
    "transpose": (lambda net, x: net.conv(x).flatten(2).transpose(1, 2).relu(), "conv", 2, None, False),
    "reshape": (lambda net, x: net.conv(x).reshape(2, 4, 2, 4, 8).relu(), "conv", 1, None, False),
    "pad": (lambda net, x: F.pad(net.conv(x), (1, 1)).relu(), "conv", 1, None, False),
    "dense": (lambda net, x: net.line(net.conv(x).permute(0, 2, 3, 1)).relu(), "line", 3, None, False),
    "dense and back": (lambda net, x: net.line(x[:, 0, :, :4]).transpose(1, 2).relu(), "line", 1, None, False),
}
MADE_BY_NONE: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "an input": lambda net, x: x.relu(),
    "a rectifier": lambda net, x: (net.conv(x).relu() - 1).relu(),
    "another function": lambda net, x: net.conv(x).tanh().relu(),
    "merged channels": lambda net, x: net.conv(x).flatten(1).relu(),
    "split channels": lambda net, x: net.conv(x).reshape(2, 2, 2, 8, 8).relu(),
    "part of the channels": lambda net, x: net.conv(x)[:, :2].relu(),
    "concatenation": lambda net, x: torch.cat([net.conv(x), x], 1).relu(),
    "square": lambda net, x: (net.conv(x) * net.conv(x)).relu(),
    "a value times itself": lambda net, x: _squared(net.conv(x)).relu(),
    "quotient": lambda net, x: (1 / net.conv(x)).relu(),
    "broadcast": lambda net, x: (net.conv(x).mean((0, 2, 3)) + x[:, :1, :1].transpose(1, 3)[..., :1]).relu(),
}


def _skipped(net: Net, x: torch.Tensor, *, first: bool = False) -> torch.Tensor:
    y = net.bn(net.other(x))
    return (x + y if first else y + x).relu()


def _deepest(net: Net, x: torch.Tensor) -> torch.Tensor:
    return (net.deep(x) + net.other(x)).relu()


def _gated(net: Net, z: torch.Tensor) -> torch.Tensor:
    return net.gate(z) * z


def _squared(z: torch.Tensor) -> torch.Tensor:
    return z * z


@pytest.mark.parametrize("name", MADE_BY)
def test_the_weights_that_make_a_preactivation(name: str) -> None:
    run, feeder, axis, norm, norm_is_last = MADE_BY[name]
    site = last_site(run)
    assert (site.feeder, site.axis, site.norm, site.norm_is_last) == (feeder, axis, norm, norm_is_last)
    assert site.channels == 4


@pytest.mark.parametrize("name", MADE_BY_NONE)
def test_no_weights_of_its_own(name: str) -> None:
    assert last_site(MADE_BY_NONE[name]).feeder is None


BYPASS: dict[str, tuple[Callable[[Net, torch.Tensor], torch.Tensor], bool]] = {
    "only way": (lambda net, x: net.other(net.conv(x).relu()), False),
    "skip around it": (lambda net, x: x.sum((2, 3)).sum(1) + net.conv(x).relu().sum((1, 2, 3)), True),
    "only its shape gets past": (lambda net, x: net.conv(x).relu() + net.scale.expand(x.shape[0], 4, 1, 1), False),
    "zeros of its shape": (lambda net, x: net.conv(x).relu() + torch.zeros_like(x[:, :1]), False),
    "product with a skip": (lambda net, x: net.conv(x).relu() * x[:, :1], False),
    "sigmoid on a skip": (lambda net, x: torch.sigmoid(net.other(net.conv(x).relu())) * x[:, :1], True),
    "attention to a skip": (lambda net, x: net.conv(x).relu().flatten(2).softmax(-1) @ x.flatten(2).mT, True),
    "one of two outputs": (lambda net, x: torch.stack((net.conv(x).relu().sum(), x.sum())), True),
}


@pytest.mark.parametrize("name", BYPASS)
def test_whether_a_signal_gets_past_zero_weights(name: str) -> None:
    run, expected = BYPASS[name]
    torch.manual_seed(0)
    _, sites = find_sites(Net(run), torch.randn(2, 3, 8, 8))
    (site,) = (site for site in sites if site.feeder == "conv")
    assert site.has_bypass is expected
