"""ResNet-20, the smallest of the residual networks for CIFAR."""

from __future__ import annotations

from torch import nn

from onnx_nepenthe.prune.networks.base import NETWORKS, scaled
from onnx_nepenthe.prune.networks.blocks import BasicBlock, Head

STAGES = (16, 32, 64)
BLOCKS = 3


@NETWORKS.register("resnet20")
def resnet20(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """19 rectifiers, at any size.

    Source: He et al. (arXiv 1512.03385), §4.2; skips are projected where sizes differ (option B).
    """
    inside = scaled(STAGES[0], width)
    layers: list[nn.Module] = [nn.Conv2d(channels, inside, 3, 1, 1, bias=False), nn.BatchNorm2d(inside), nn.ReLU()]
    for stage, base in enumerate(STAGES):
        out = scaled(base, width)
        for block in range(BLOCKS):
            layers.append(BasicBlock(inside, out, 2 if stage and not block else 1))
            inside = out
    return nn.Sequential(*layers, Head(inside, classes))
