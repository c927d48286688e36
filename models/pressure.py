"""Entropy-guided pressure: trains the rectifiers of lowest entropy into one regime per channel.

Step 1 counts regimes over the training set (as `onnx_nepenthe.regimes` defines them). Step 2 picks the groups of
rectifiers with the lowest entropy. Step 3 adds a hinge to the loss that asks every observation of a picked
channel to keep its distance from the knots of the activation. The weights are only ever changed by the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from onnx_nepenthe.activations import tails
from onnx_nepenthe.regimes import RegimeCounts

KNOTS: Mapping[type[nn.Module], tuple[float, ...]] = {
    nn.ReLU: (0.0,),
    nn.LeakyReLU: (0.0,),
    nn.ReLU6: (0.0, 6.0),
    nn.GELU: (-tails.GELU, tails.GELU),
}
"""Where the pieces end; GELU between its tails is curved."""
OFF_SHARE = 0.85
"""A channel is pushed OFF only when it is OFF this often; otherwise ON, which keeps the signal."""


@dataclass(frozen=True)
class Target:
    """What one picked rectifier is pushed to: z inside [low, high], both (channels,), for every observation."""

    low: Tensor
    high: Tensor


def rectifiers(model: nn.Module) -> dict[str, nn.Module]:
    """Name → module of every activation, in order of registration."""
    return {name: module for name, module in model.named_modules() if type(module) in KNOTS}


@contextmanager
def tapped(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """A dict that each forward pass fills with the pre-activations z of `names`."""
    seen: dict[str, Tensor] = {}
    modules = dict(model.named_modules())

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, args: seen.__setitem__(name, args[0])

    handles = [modules[name].register_forward_pre_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def by_channel(z: Tensor) -> Tensor:
    """(N, C, …) → (C, observations)."""
    return z.movedim(1, 0).flatten(1)


def count(z: np.ndarray, knots: Sequence[float]) -> RegimeCounts:
    """Regimes of z (channels, observations)."""
    edges = [-np.inf, *knots, np.inf]
    inside = [((z > low) & (z < high)).sum(axis=1) for low, high in pairwise(edges)]
    ties = [(z == knot).sum(axis=1) for knot in knots]
    return RegimeCounts(np.array(inside, np.int64), np.array(ties, np.int64), z.min(axis=1), z.max(axis=1))


@torch.no_grad()
def measure(model: nn.Module, images: Tensor, batch: int = 200) -> dict[str, RegimeCounts]:
    """Counts of every rectifier over `images`, with the model in evaluation mode."""
    found = rectifiers(model)
    was_training = model.training
    model.eval()
    totals: dict[str, RegimeCounts] = {}
    with tapped(model, found) as seen:
        for part in images.split(batch):
            model(part)
            for name, z in seen.items():
                counts = count(by_channel(z).double().numpy(), KNOTS[type(found[name])])
                totals[name] = totals[name] + counts if name in totals else counts
    model.train(was_training)
    return totals


def gap(module: nn.Module, counts: RegimeCounts) -> float:
    """Smallest distance of a pre-activation from a knot, for a rectifier none of whose channels crosses one."""
    knots = np.array(KNOTS[type(module)])[:, None]
    return float(np.minimum(np.abs(counts.low - knots), np.abs(counts.high - knots)).min())


def pick(counts: Mapping[str, RegimeCounts], groups: Sequence[Sequence[str]], k: int) -> list[str]:
    """Members of the `k` groups whose mean entropy over all channels and members is lowest."""

    def entropy(group: Sequence[str]) -> float:
        return float(np.mean([counts[name].layer_entropy(average="all") for name in group]))

    return [name for group in sorted(groups, key=entropy)[:k] for name in group]


def target(module: nn.Module, counts: RegimeCounts) -> Target:
    """The regime each channel of the rectifier is closest to already."""
    knots = KNOTS[type(module)]
    off = torch.from_numpy(counts.counts[0] >= OFF_SHARE * counts.observations)
    infinity = torch.full(off.shape, float("inf"))
    low = torch.where(off, -infinity, torch.full(off.shape, knots[0]))
    top = torch.full(off.shape, knots[1]) if len(knots) > 1 else infinity
    return Target(low, torch.where(off, torch.full(off.shape, knots[0]), top))


def hinge(z: Tensor, goal: Target, margin: float) -> Tensor:
    """How far z (N, C, …) is from staying `margin` spreads inside its target; 0 when every observation does.

    The margin counts in standard deviations of the channel, so shrinking z does not help. Per channel the worst
    observation and the mean over observations are added: entropy is zero only when the worst one agrees. Channels
    are summed, so that the force on each does not depend on how many there are.
    """
    flat = by_channel(z)
    spread = flat.detach().std(dim=1).clamp(min=1e-2)
    # Between two knots there is room for at most a quarter of their distance on each side.
    slack = torch.minimum(margin * spread, (goal.high - goal.low) / 4)
    below = (goal.low + slack).unsqueeze(1) - flat
    above = flat - (goal.high - slack).unsqueeze(1)
    excess = torch.maximum(below, above).clamp(min=0) / spread.unsqueeze(1)
    return (excess.amax(dim=1) + excess.mean(dim=1)).sum()
