"""VGG-16 with batch normalisation."""

from __future__ import annotations

from torch import nn

from onnx_nepenthe.prune.networks.base import NETWORKS, SMALL, scaled

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels, convolutions; a pool of 2 behind each stage."""
GRID, HIDDEN = 7, 4096
SMALL_HIDDEN = 512
DROPOUT = 0.5


@NETWORKS.register("vgg16-bn")
def vgg16_bn(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """15 rectifiers: 13 behind convolutions, 2 behind dense layers; the latter are narrow for small images.

    Source: Simonyan and Zisserman (arXiv 1409.1556), table 1, D.
    """
    layers: list[nn.Module] = []
    inside, left = channels, size
    for base, convs in STAGES:
        out = scaled(base, width)
        for _ in range(convs):
            layers += [nn.Conv2d(inside, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
            inside = out
        if left > 1:
            layers.append(nn.MaxPool2d(2))
            left //= 2
    grid, hidden = (1, scaled(SMALL_HIDDEN, width)) if size <= SMALL else (GRID, scaled(HIDDEN, width))
    layers += [nn.AdaptiveAvgPool2d(grid), nn.Flatten()]
    for features in (inside * grid * grid, hidden):
        layers += [nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))
