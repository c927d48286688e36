"""Entropy as a differentiable term of the loss: drives the channels of chosen sites into one regime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from onnx_nepenthe.prune.losses import Pass
from onnx_nepenthe.prune.pressing import goal, skeleton
from onnx_nepenthe.prune.records import Site, SiteStatistics
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.tuning import Pressure
from onnx_nepenthe.regimes import FloatArray

TINY = 1e-24
"""Variances up to it are taken for 0; far below any that float32 activations have."""


def by_channel(z: Tensor, axis: int) -> Tensor:
    """float32 (channels, observations)."""
    return z.movedim(axis, 0).flatten(1).float()


def spread(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation per channel, (channels, 1), and where it is above 0, bool (channels,).

    Channels that do not vary get 1: nothing divides by 0, and nobody uses their number.
    """
    variance = flat.var(dim=1, correction=0)
    varies = variance > TINY
    return torch.where(varies, variance, torch.ones_like(variance)).sqrt().unsqueeze(1), varies


def entropy_bits(share: Tensor) -> Tensor:
    """-sum p log2 p over the first axis, p > 0."""
    return -(share * share.log2()).sum(dim=0)


def preference(off_share: float) -> float:
    """Bits per unit of share that make ON win exactly where OFF has less than `off_share`.

    H2(p) + rho (1 - p) rises below p* = 1 / (1 + 2^rho) and falls above it; p* = 1 - off_share.
    """
    return math.log2(off_share / (1 - off_share))


def share_cost(above: Tensor, worth: Tensor, pressure: Pressure) -> Tensor:
    """Bits per channel, (channels,): the entropy of the pieces, and what the preference adds where no signal passes.

    Args:
        above: (knots, channels), share of observations above each knot, falling.
        worth: (knots + 1, channels), `Skeleton.worth`.
        pressure: its clamp and preference.
    """
    ends = torch.ones_like(above[:1])
    share = torch.cat([ends, above]) - torch.cat([above, 0 * ends])
    # The preference is clamped too: it would pull settled OFF channels back from where the entropy lets go.
    share = share.clamp(pressure.clamp, 1 - pressure.clamp)
    signal = (share * worth).sum(dim=0)
    return entropy_bits(share) + preference(pressure.off_share) * (1 - signal)


class EntropyPressure:
    """weight · sum over sites of the mean over channels of a differentiable entropy, in bits.

    The value does not change when z is scaled, so that shrinking z gains nothing. Of the hinge it is the sum over
    channels, so that the force on each does not depend on how many there are.

    Attributes:
        sites: names of the pressed sites.
    """

    def __init__(
        self, subject: Subject, sites: Sequence[str], pressure: Pressure, statistics: Mapping[str, SiteStatistics]
    ) -> None:
        """Presses `sites`; `statistics` (by name) say which way the hinge drives each channel."""
        make = _Bounds.of if pressure.surrogate == "hinge" else _Shares.of
        self._parts = [make(subject, name, pressure, statistics[name]) for name in sites]
        self._pressure, self.sites = pressure, tuple(sites)

    def __call__(self, seen: Pass) -> Tensor:
        """A scalar; 0 when no site is pressed."""
        costs = [part.cost(seen.z[name]) for part, name in zip(self._parts, self.sites, strict=True)]
        if not costs:
            return seen.outputs.new_zeros(())
        return self._pressure.weight_after(seen.done) * torch.stack(costs).sum()


@dataclass(frozen=True, eq=False)
class _Shares:
    """A site whose share of observations per piece is made differentiable."""

    axis: int
    knots: Tensor
    worth: Tensor
    norm: nn.Module | None
    pressure: Pressure

    @classmethod
    def of(cls, subject: Subject, name: str, pressure: Pressure, _statistics: SiteStatistics) -> _Shares:
        rectifier = subject.rectifier(name)
        bones = skeleton(rectifier.activation, rectifier.site.channels)
        norm = norm_before(subject, rectifier.site) if pressure.surrogate == "normal" else None
        place = rectifier.slope.device
        return cls(rectifier.site.axis, _float(bones.knots, place), _float(bones.worth, place), norm, pressure)

    def cost(self, z: Tensor) -> Tensor:
        if not len(self.knots):
            return z.new_zeros((), dtype=torch.float32)
        if self.norm is not None:
            return share_cost(normal_above(self.norm, self.knots), self.worth, self.pressure).mean()
        above, varies = soft_above(by_channel(z, self.axis), self.knots, self.pressure)
        cost = share_cost(above, self.worth, self.pressure)
        return torch.where(varies, cost, torch.zeros_like(cost)).mean()


@dataclass(frozen=True, eq=False)
class _Bounds:
    """A site whose channels are driven into one piece each."""

    axis: int
    low: Tensor
    high: Tensor
    pressure: Pressure

    @classmethod
    def of(cls, subject: Subject, name: str, pressure: Pressure, statistics: SiteStatistics) -> _Bounds:
        rectifier = subject.rectifier(name)
        ends, place = goal(rectifier.activation, statistics, pressure.off_share), rectifier.slope.device
        return cls(rectifier.site.axis, _float(ends.low, place), _float(ends.high, place), pressure)

    def cost(self, z: Tensor) -> Tensor:
        return hinge(by_channel(z, self.axis), self.low, self.high, self.pressure).sum()


def _float(values: FloatArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, torch.float32)


def norm_before(subject: Subject, site: Site) -> nn.Module | None:
    """The BatchNorm whose output is z itself; None when anything, an addition say, stands in between."""
    module = subject.module.get_submodule(site.norm) if site.norm is not None and site.norm_is_last else None
    is_affine = all(isinstance(getattr(module, name, None), Tensor) for name in ("weight", "bias"))
    return module if is_affine else None


def soft_above(flat: Tensor, knots: Tensor, pressure: Pressure) -> tuple[Tensor, Tensor]:
    """Share above each knot, (knots, channels), by a sigmoid of the distance in standard deviations; where z varies.

    "straight-through" gives the exact shares with the gradients of "soft".
    """
    deviation, varies = spread(flat)
    distance = (flat.unsqueeze(0) - knots.unsqueeze(2)) / (pressure.temperature * deviation)
    soft = distance.sigmoid().mean(dim=2)
    if pressure.surrogate != "straight-through":
        return soft, varies
    exact = (distance > 0).float().mean(dim=2)
    return soft + (exact - soft).detach(), varies


def normal_above(norm: nn.Module, knots: Tensor) -> Tensor:
    """Share above each knot, (knots, channels): Phi((beta - knot) / |gamma|), as if z were normal.

    Source: TLC (arXiv 2412.15077), ALGORITHMS.md §7.
    """
    gamma, beta = norm.weight, norm.bias
    assert isinstance(gamma, Tensor)
    assert isinstance(beta, Tensor)
    share: Tensor = torch.special.ndtr((beta - knots) / gamma.abs().clamp(min=1e-6))
    return share


def hinge(flat: Tensor, low: Tensor, high: Tensor, pressure: Pressure) -> Tensor:
    """Per channel, (channels,): how far z is, in deviations, from staying inside [low, high] by margin and distance.

    The worst observation and the mean over observations are added: the entropy is 0 only when the worst one agrees.
    """
    deviation, varies = spread(flat)
    deviation = deviation.detach()
    # Between two knots there is room for at most a quarter of their distance on each side.
    wanted = (pressure.margin * deviation.squeeze(1)).clamp(min=pressure.distance)
    slack = torch.minimum(wanted, (high - low) / 4).unsqueeze(1)
    excess = torch.maximum(low.unsqueeze(1) + slack - flat, flat - high.unsqueeze(1) + slack).clamp(min=0) / deviation
    return torch.where(varies, excess.amax(dim=1) + excess.mean(dim=1), torch.zeros_like(low))
