"""A vision transformer (ViT-Ti)."""

from __future__ import annotations

import torch
from torch import nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.networks.base import NETWORKS, SMALL, scaled
from onnx_nepenthe.prune.networks.blocks import Attention, Perceptron, initialise

DIM, HEADS, DEPTH = 192, 3, 12
PATCH, SMALL_GRID = 16, 8
"""Pixels of a patch; patches a side in a small image."""


class Block(nn.Module):
    """Attention, then an MLP, each behind a norm and inside a skip."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention, self.mlp = Attention(dim, HEADS), Perceptron(dim, 4 * dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, tokens, dim) → (N, tokens, dim)."""
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.mlp(self.norm2(x))
        return y


class ViT(nn.Module):
    """Patches as tokens, transformer blocks, mean over the tokens, one dense layer."""

    def __init__(self, channels: int, size: int, classes: int, dim: int, patch: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        self.position = nn.Parameter(torch.empty(1, (size // patch) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.position, std=0.02)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, size, size) → (N, classes)."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        result: torch.Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return result


@NETWORKS.register("vit")
def vit(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """12 rectifiers (GELU); small images are cut into 8 × 8 patches. The tokens' mean takes the place of a class token.

    Source: Dosovitskiy et al. (arXiv 2010.11929); ViT-Ti of Touvron et al. (arXiv 2012.12877).

    Raises:
        UsageError: the size is no multiple of the patch.
    """
    patch = PATCH if size > SMALL else max(1, size // SMALL_GRID)
    if size % patch:
        raise UsageError(f"vit cuts images into patches of {patch} pixels, which do not fill {size}; scale the images")
    return ViT(channels, size, classes, HEADS * scaled(DIM // HEADS, width), patch)
