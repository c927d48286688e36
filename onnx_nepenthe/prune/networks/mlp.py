"""A perceptron with three hidden layers."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from onnx_nepenthe.prune.networks.base import NETWORKS, scaled

HIDDEN = (256, 256, 256)


@NETWORKS.register("mlp")
def mlp(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """3 rectifiers."""
    widths = [channels * size * size, *(scaled(hidden, width) for hidden in HIDDEN)]
    layers: list[nn.Module] = [nn.Flatten()]
    for inside, out in pairwise(widths):
        layers += [nn.Linear(inside, out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
