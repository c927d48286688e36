"""Entropy as a term of the loss."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from onnx_nepenthe.prune.entropy import EntropyPressure, share_cost, soft_above  # noqa: E402
from onnx_nepenthe.prune.losses import Pass  # noqa: E402
from onnx_nepenthe.prune.records import SiteStatistics  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.tuning import Pressure, Surrogate  # noqa: E402
from onnx_nepenthe.regimes import RegimeCounts  # noqa: E402

SURROGATES: tuple[Surrogate, ...] = ("soft", "straight-through", "hinge")


def subject(activation: nn.Module | None = None, channels: int = 1) -> Subject:
    return Subject.of(
        nn.Sequential(nn.Linear(2, channels), activation or nn.ReLU(), nn.Linear(channels, 2)), torch.zeros(2, 2)
    )


def counted(z: Tensor, knots: tuple[float, ...] = (0.0,)) -> SiteStatistics:
    edges = [-math.inf, *knots, math.inf]
    inside = [((z > low) & (z < high)).sum(0) for low, high in pairwise(edges)]
    counts = torch.stack(inside).numpy()
    return SiteStatistics(RegimeCounts(counts, 0 * counts[1:], z.amin(0).double().numpy(), z.amax(0).double().numpy()))


def value(z: Tensor, pressure: Pressure, activation: nn.Module | None = None) -> Tensor:
    own = subject(activation, z.shape[1])
    (site,) = own.sites
    counts = counted(z.detach(), tuple(float(knot) for knot in site.activation.knots))  # type: ignore[arg-type]
    term = EntropyPressure(own, [site.name], pressure, {site.name: counts})
    assert term.sites == (site.name,)
    return term(Pass((z,), z, {site.name: z}))


def pull(z: Tensor, pressure: Pressure, activation: nn.Module | None = None) -> list[float]:
    """Per channel: where a step against the gradient moves the mean of z."""
    z = z.clone().requires_grad_()
    value(z, pressure, activation).backward()
    assert z.grad is not None
    return [-float(column) for column in z.grad.sum(0)]


def draws(*means: float, samples: int = 4000) -> Tensor:
    return torch.randn(samples, len(means), generator=torch.Generator().manual_seed(0)) + torch.tensor(means)


def test_the_weight_rises_from_its_start_to_all_of_it() -> None:
    z, pressure = draws(1.0), Pressure(weight=0.5, start=0.01)
    own = subject()
    (site,) = own.sites
    term = EntropyPressure(own, [site.name], pressure, {site.name: counted(z)})
    first, half, last = (float(term(Pass((z,), z, {site.name: z}, done))) for done in (0.0, 0.5, 1.0))
    assert (first, half) == (pytest.approx(last / 100), pytest.approx(last / 10))
    assert last == pytest.approx(float(value(z, Pressure(weight=0.5))))


def test_the_hinge_keeps_a_distance_in_units_of_z_where_a_deviation_is_less() -> None:
    """Deviation 0.01: 1 to 3 deviations from the knot, 0.1 wanted."""
    z = torch.tensor([[0.01], [0.03]])
    assert float(value(z, Pressure(weight=1.0, surrogate="hinge"))) == 0
    assert float(value(z, Pressure(weight=1.0, surrogate="hinge", distance=0.1))) == pytest.approx(9 + 8)
    # Between two knots there is room for a quarter of their distance.
    inside = torch.tensor([[1.5], [4.5]])
    assert float(value(inside, Pressure(weight=1.0, surrogate="hinge", distance=5.0), nn.ReLU6())) == 0


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_channels_that_are_mostly_on_are_driven_on_and_those_nearly_always_off_off(surrogate: Surrogate) -> None:
    up, middle, rather_off, off = pull(draws(1.0, 0.0, -0.6, -1.6), Pressure(surrogate=surrogate))
    assert up > 0
    assert middle > 0, "an even channel goes ON, which keeps the signal"
    assert rather_off > 0, "OFF in 73 % is not enough"
    assert off < 0


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_scaling_z_changes_nothing(surrogate: Surrogate) -> None:
    z, pressure = draws(0.5, -0.2, -1.4), Pressure(surrogate=surrogate)
    assert value(10 * z, pressure) == pytest.approx(float(value(z, pressure)), rel=1e-5)


@pytest.mark.parametrize("surrogate", ["soft", "straight-through"])
def test_no_gradient_points_along_z_so_that_shrinking_gains_nothing(surrogate: Surrogate) -> None:
    scale = torch.ones((), requires_grad=True)
    value(scale * draws(0.5, -0.2), Pressure(surrogate=surrogate)).backward()
    assert scale.grad is not None
    assert abs(float(scale.grad)) < 1e-6


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_settled_channels_cost_next_to_nothing_and_are_left_alone(surrogate: Surrogate) -> None:
    pressure = Pressure(surrogate=surrogate, weight=1.0)
    settled = draws(8.0)
    assert float(value(settled, pressure)) < 0.01 < float(value(draws(0.0), pressure))
    assert pull(settled, pressure) == [pytest.approx(0.0, abs=1e-4)]
    assert pull(draws(-8.0), pressure) == [pytest.approx(0.0, abs=1e-4)]


def test_straight_through_has_the_exact_shares() -> None:
    above, _ = soft_above(draws(0.3).T, torch.zeros(1, 1), Pressure(surrogate="straight-through"))
    assert float(above) == pytest.approx(float((draws(0.3) > 0).float().mean()))


def test_the_cost_is_the_entropy_in_bits_and_the_preference() -> None:
    pressure = Pressure(off_share=0.8)
    cost = share_cost(torch.tensor([[0.5, 0.25]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]]), pressure)
    two = math.log2(0.8 / 0.2)
    assert cost.tolist() == pytest.approx([1 + two * 0.5, 0.8112781 + two * 0.75])


def test_a_bounded_rectifier_is_driven_to_the_piece_with_a_slope() -> None:
    below, above = pull(draws(0.2, 5.8), Pressure(), nn.ReLU6())
    assert below > 0 > above


def test_a_curved_rectifier_is_driven_to_one_side_of_zero() -> None:
    pressure = Pressure()
    assert pull(draws(0.5), pressure, nn.GELU())[0] > 0
    assert pull(draws(-1.6), pressure, nn.SiLU())[0] < 0


def test_where_both_pieces_pass_the_signal_the_nearer_wins() -> None:
    assert pull(draws(-0.6), Pressure(), nn.LeakyReLU(1.0 - 1e-9))[0] < 0
    assert pull(draws(-0.6), Pressure(), nn.LeakyReLU(0.01))[0] > 0


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_channels_that_do_not_vary_give_no_nan(surrogate: Surrogate) -> None:
    z = torch.cat([torch.zeros(50, 1), torch.full((50, 1), 3.0), draws(0.1, samples=50)], dim=1).requires_grad_()
    total = value(z, Pressure(surrogate=surrogate))
    total.backward()
    assert torch.isfinite(total)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert (z.grad[:, :2] == 0).all()


class Block(nn.Module):
    """A norm directly before one rectifier, and an addition before the other."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm, self.last = nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.dense(x)))
        return torch.relu(self.last(self.dense(x)) + y)


def test_after_a_norm_the_closed_form_moves_beta_and_gamma_and_needs_no_data() -> None:
    own = Subject.of(Block(), torch.zeros(2, 2))
    first = own.sites[0].name
    norm: Any = own.module.get_submodule("norm")
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, -0.1, -3.0]))
    seen = Pass((), torch.zeros(1), {first: torch.full((4, 3), float("nan"))})
    statistics = {first: counted(draws(0.0, 0.0, 0.0))}
    total = EntropyPressure(own, [first], Pressure(surrogate="normal", weight=1.0), statistics)(seen)
    shares = [0.8413447, 0.4601722, 0.0013499]
    bits = [-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in shares]
    rho = math.log2(0.85 / 0.15)
    assert float(total.detach()) == pytest.approx(sum(bits) / 3 + rho * sum(1 - p for p in shares) / 3, rel=1e-5)
    total.backward()
    up, even, off = (-norm.bias.grad).tolist()
    assert up > 0
    assert even > 0 > off
    assert (norm.weight.grad[:1] > 0).all(), "a smaller gamma settles a channel"


def test_after_an_addition_the_closed_form_is_not_used() -> None:
    own = Subject.of(Block(), torch.zeros(2, 2))
    second = own.sites[1].name
    z = draws(0.2, 0.2, 0.2)
    soft, normal = (
        EntropyPressure(own, [second], Pressure(surrogate=surrogate), {second: counted(z)})(Pass((), z, {second: z}))
        for surrogate in ("soft", "normal")
    )
    assert float(soft) == float(normal) > 0


def test_nothing_pressed_adds_nothing() -> None:
    assert float(EntropyPressure(subject(), [], Pressure(), {})(Pass((), torch.ones(2), {}))) == 0
