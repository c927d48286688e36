from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.prune.merge import Merged, merge  # noqa: E402
from onnx_nepenthe.prune.networks import NETWORKS  # noqa: E402
from onnx_nepenthe.prune.padding import move_padding  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


def lines(made: Subject, which: slice = slice(None)) -> Subject:
    rng = np.random.default_rng(0)
    for site in made.sites[which]:
        made.rectifier(site.name).set_line(rng.normal(1, 0.3, site.channels), rng.normal(0, 0.5, site.channels))
    return made


def compare(network: nn.Module, x: torch.Tensor, growth: float = float("inf")) -> Merged:
    """Merge with every rectifier a line; the result is compared with the network, which stays as it is."""
    made = lines(Subject.of(network, x))
    with torch.no_grad():
        made.module.train()(x)
        expected = made.module.eval()(x)
        merged = merge(made.module, growth=growth)
        torch.testing.assert_close(merged.module(x), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(made.module(x), expected)
    return merged


def weighted(merged: Merged) -> list[nn.Module]:
    return [part for part in merged.module.modules() if isinstance(part, WEIGHTED)]


class Sum(nn.Module):
    """A few layers and a forward that is given as a function."""

    def __init__(self, run: Callable[[Sum, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.run = run
        self.a, self.b, self.c = (nn.Conv2d(4, 4, kernel, padding=kernel // 2) for kernel in (3, 3, 1))
        self.project = nn.Conv2d(4, 4, 1, 2)
        self.halved = nn.Conv2d(4, 4, 3, 2, 1)
        self.bn, self.pool = nn.BatchNorm2d(4), nn.MaxPool2d(2)
        self.line = nn.Linear(9, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 4, 9, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_merged_network_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    x = image(4, 3, 8, 8)
    made = Subject.of(NETWORKS[name](3, 8, 5, 0.05), x)
    with torch.no_grad():
        made.module.train()(x)
        # In residual networks these are the rectifiers inside the blocks.
        move_padding(lines(made, slice(1, None, 2)))
        expected = made.module.eval()(x)
        merged = merge(made.module)
        torch.testing.assert_close(merged.module(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    before = [part for part in made.module.modules() if isinstance(part, WEIGHTED)]
    assert len(weighted(merged)) < len(before)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in merged.module.modules())


def test_dense_layers_with_norms_and_dropout_are_one() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3), nn.Identity()]
    merged = compare(nn.Sequential(*layers), image(6, 4))
    (dense,) = weighted(merged)
    assert (dense.in_features, dense.out_features) == (4, 3)
    assert list(merged.parts.values()) == [("0", "1", "rectifiers._2", "3", "4", "5")]


SUMS: dict[str, tuple[Callable[[Sum, torch.Tensor], torch.Tensor], int]] = {
    "identity skip": (lambda net, x: x + net.a(x), 1),
    "identity skip, behind a norm": (lambda net, x: net.bn(net.a(x)) + x, 1),
    "two kernels": (lambda net, x: net.a(x) + net.c(x), 1),
    "projection with a stride": (lambda net, x: net.project(x) + net.halved(x), 1),
    "in place": (lambda net, x: operator.iadd(net.a(x), x), 1),
    "sum, then pointwise": (lambda net, x: net.c((x + net.a(x)).relu()), 1),
    "norm behind a pool": (lambda net, x: net.bn(net.pool(x)), 0),
}
UNMERGED: dict[str, tuple[Callable[[Sum, torch.Tensor], torch.Tensor], int]] = {
    "summands of two values": (lambda net, x: net.a(net.pool(x)) + net.b(net.pool(x) * 2), 2),
    "a summand that is read elsewhere": (lambda net, x: net.b(x) + (y := net.a(x)) + y.mean(), 2),
    "a value twice": (lambda net, x: net.a(_double(net.pool(x))), 1),
    "a number": (lambda net, x: net.a(net.a(x) + 1), 1),
    "scaled sum": (lambda net, x: torch.add(net.a(x), net.b(x), alpha=2), 2),
    "dense along a row": (lambda net, x: net.line(net.c(x)), 2),
    "called twice": (lambda net, x: net.a(net.a(x)), 1),
}


def _double(x: torch.Tensor) -> torch.Tensor:
    return x + x


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_maps_of_one_value_are_one_map(name: str) -> None:
    torch.manual_seed(0)
    run, left = SUMS[name]
    merged = compare(Sum(run), image())
    assert len(weighted(merged)) == left
    assert merged.notes == ()


@pytest.mark.parametrize("name", UNMERGED)
def test_other_sums_and_calls_stay(name: str) -> None:
    torch.manual_seed(0)
    run, left = UNMERGED[name]
    assert len(weighted(compare(Sum(run), image()))) == left


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda net, x: net.b(net.a(x)), "padd"),
        (lambda net, x: net.a(net.c(x)), "a bias would differ near the edges"),
        (lambda net, x: net.line(net.c(x)), "different axes"),
    ],
)
def test_what_cannot_be_merged_is_said(run: Callable[[Sum, torch.Tensor], torch.Tensor], reason: str) -> None:
    torch.manual_seed(0)
    (note,) = compare(Sum(run), image()).notes
    assert reason in note.reason


@pytest.mark.parametrize(("growth", "convs"), [(1.0, 2), (1.08, 2), (1.09, 1)])
def test_a_merge_may_be_bound_in_multiply_adds(growth: float, convs: int) -> None:
    """Two unpadded 3×3, 12 × 12 → 10 × 10 → 8 × 8, against one 5×5: 25 · 64 / (9 · 100 + 9 · 64) = 1.084."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    merged = compare(network, image(2, 4, 12, 12), growth)
    assert len(weighted(merged)) == convs
    dearer = "the merged operator takes more multiply-adds than its parts"
    assert [note.reason for note in merged.notes] == [dearer] * (convs - 1)


def test_calls_by_keyword_and_without_one_shape_stay() -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(input=self.a(x))

    assert len(weighted(compare(Keyword(), image(2, 4)))) == 2


def test_a_sum_may_be_too_dear() -> None:
    """A 3×3 and a 1×1 are one 3×3; a 1×3 and a 3×1 are one 3×3 as well, with nine taps for six."""
    network = Sum(lambda net, x: net.a(x) + net.b(x))
    network.a, network.b = nn.Conv2d(4, 4, (1, 3), padding=(0, 1)), nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
    assert len(weighted(compare(network, image(), growth=1.0))) == 2
    assert len(weighted(compare(network, image(), growth=1.5))) == 1


def test_types_are_kept() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)).double()
    (conv,) = weighted(compare(network, image().double()))
    assert conv.weight.dtype == torch.float64


def test_merging_draws_no_random_numbers() -> None:
    made = lines(Subject.of(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), image(2, 4)))
    before = torch.get_rng_state()
    merge(made.module)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_without_anything_to_merge_stays() -> None:
    merged = compare(nn.Sequential(nn.MaxPool2d(2), nn.Tanh()), image())
    assert (merged.parts, merged.notes) == ({}, ())
