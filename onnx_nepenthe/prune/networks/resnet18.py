"""ResNet-18."""

from __future__ import annotations

from torch import nn

from onnx_nepenthe.prune.networks.base import NETWORKS, SMALL, scaled
from onnx_nepenthe.prune.networks.blocks import BasicBlock, Head

STAGES = (64, 128, 256, 512)
BLOCKS = 2


@NETWORKS.register("resnet18")
def resnet18(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """17 rectifiers; small images get a 3×3 stem without pooling.

    Source: He et al. (arXiv 1512.03385), table 1.
    """
    inside = scaled(STAGES[0], width)
    layers: list[nn.Module] = [*_stem(channels, inside, size)]
    for stage, base in enumerate(STAGES):
        out = scaled(base, width)
        for block in range(BLOCKS):
            layers.append(BasicBlock(inside, out, 2 if stage and not block else 1))
            inside = out
    return nn.Sequential(*layers, Head(inside, classes))


def _stem(channels: int, out: int, size: int) -> list[nn.Module]:
    if size <= SMALL:
        return [nn.Conv2d(channels, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    stem = [nn.Conv2d(channels, out, 7, 2, 3, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return [*stem, nn.MaxPool2d(3, 2, 1)]
