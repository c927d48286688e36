"""MobileNetV2."""

from __future__ import annotations

import torch
from torch import nn

from onnx_nepenthe.prune.networks.base import NETWORKS, SMALL, scaled
from onnx_nepenthe.prune.networks.blocks import Head

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride."""
FIRST, LAST = 32, 1280
MULTIPLE = 8


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise 3×3, pointwise projection without a rectifier; a skip where sizes agree."""

    def __init__(self, inside: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inside * expansion
        layers = [] if expansion == 1 else _conv(inside, hidden, 1)
        layers += _conv(hidden, hidden, 3, stride, groups=hidden)
        self.layers = nn.Sequential(*layers, nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out))
        self.has_skip = stride == 1 and inside == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inside, h, w) → (N, out, h / stride, w / stride)."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.has_skip else y


@NETWORKS.register("mobilenet-v2")
def mobilenet_v2(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """35 rectifiers; in small images the first two strides are 1.

    Source: Sandler et al. (arXiv 1801.04381), table 2.
    """
    is_small = size <= SMALL
    inside = scaled(FIRST, width, MULTIPLE)
    layers = _conv(channels, inside, 3, 1 if is_small else 2)
    for stage, (expansion, base, blocks, stride) in enumerate(STAGES):
        out = scaled(base, width, MULTIPLE)
        for block in range(blocks):
            first = 1 if is_small and stage == 1 else stride
            layers.append(InvertedResidual(inside, out, first if block == 0 else 1, expansion))
            inside = out
    last = scaled(LAST, max(1.0, width) if size > SMALL else width, MULTIPLE)
    return nn.Sequential(*layers, *_conv(inside, last, 1), Head(last, classes))


def _conv(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU6()]
