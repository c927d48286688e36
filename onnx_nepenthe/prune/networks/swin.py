"""A Swin transformer (Swin-T): attention inside windows, every second time shifted by half a window."""

from __future__ import annotations

import torch
from torch import nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.networks.base import NETWORKS, SMALL, scaled
from onnx_nepenthe.prune.networks.blocks import Attention, Perceptron, initialise

DIM, DEPTHS, HEADS = 96, (2, 2, 6, 2), (3, 6, 12, 24)
PATCH, WINDOW = 4, 7
SMALL_WINDOW = 4
FORBIDDEN = -100.0
"""Added to the scores of tokens that are neighbours only because the image was rolled."""


class WindowAttention(nn.Module):
    """Self-attention inside windows of an image that is rolled by `shift` before and back after."""

    mask: torch.Tensor
    distance: torch.Tensor

    def __init__(self, dim: int, heads: int, grid: int, window: int, shift: int) -> None:
        super().__init__()
        self.dim, self.grid, self.window, self.shift = dim, grid, window, shift
        self.attention = Attention(dim, heads)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("distance", _distances(window), persistent=False)
        self.register_buffer("mask", _mask(grid, window, shift), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, grid, grid, dim) → (N, grid, grid, dim)."""
        dim, side, window = self.dim, self.grid // self.window, self.window
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        tokens = x.reshape(-1, side, window, side, window, dim).transpose(2, 3)
        tokens = tokens.reshape(-1, side * side, window * window, dim)
        scores = self.bias[self.distance].permute(2, 0, 1) + self.mask
        mixed = self.attention(tokens, scores).reshape(-1, side, side, window, window, dim)
        result = mixed.transpose(2, 3).reshape(-1, self.grid, self.grid, dim)
        return torch.roll(result, (self.shift, self.shift), (1, 2)) if self.shift else result


class Block(nn.Module):
    """Window attention, then an MLP, each behind a norm and inside a skip."""

    def __init__(self, dim: int, heads: int, grid: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads, grid, window, shift)
        self.mlp = Perceptron(dim, 4 * dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, grid, grid, dim) → (N, grid, grid, dim)."""
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.mlp(self.norm2(x))
        return y


class Merging(nn.Module):
    """Every 2 × 2 positions become one with twice the channels."""

    def __init__(self, dim: int, grid: int) -> None:
        super().__init__()
        self.dim, self.grid = dim, grid
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, grid, grid, dim) → (N, grid / 2, grid / 2, 2 dim)."""
        half = self.grid // 2
        fours = x.reshape(-1, half, 2, half, 2, self.dim).transpose(2, 3).reshape(-1, half, half, 4 * self.dim)
        result: torch.Tensor = self.reduction(self.norm(fours))
        return result


class Swin(nn.Module):
    """Patches on a grid, four stages of blocks with a merging between them, mean over the grid, one dense layer."""

    def __init__(self, channels: int, size: int, classes: int, dim: int, patch: int, window: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        self.norm = nn.LayerNorm(dim)
        layers: list[nn.Module] = []
        grid = size // patch
        for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
            if stage:
                layers.append(Merging(dim, grid))
                dim, grid = 2 * dim, grid // 2
            side = min(window, grid)
            shift = side // 2 if grid > side else 0
            layers += [Block(dim, heads, grid, side, shift if block % 2 else 0) for block in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.last_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, size, size) → (N, classes)."""
        grid = self.layers(self.norm(self.embed(x).permute(0, 2, 3, 1)))
        result: torch.Tensor = self.head(self.last_norm(grid).mean((1, 2)))
        return result


@NETWORKS.register("swin")
def swin(channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """12 rectifiers (GELU); small images have patches of 2 (up to 16 pixels: 1) and windows of 4.

    Source: Liu et al. (arXiv 2103.14030), §3.

    Raises:
        UsageError: the windows do not fill the image.
    """
    is_small = size <= SMALL
    patch, window = (1 if size <= 16 else 2, SMALL_WINDOW) if is_small else (PATCH, WINDOW)
    grids = [size // patch // 2**stage for stage in range(len(DEPTHS))]
    if size % (patch * 2 ** (len(DEPTHS) - 1)) or any(grid % min(window, grid) for grid in grids):
        raise UsageError(
            f"swin cuts images into patches of {patch} and windows of {window}, which do not fill {size} pixels; "
            "use 8, 16, 32, 64 or a multiple of 224"
        )
    return Swin(channels, size, classes, HEADS[0] * scaled(DIM // HEADS[0], width), patch, window)


def _distances(window: int) -> torch.Tensor:
    """int64 (window², window²): which entry of the bias table belongs to two positions of a window."""
    at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    apart = at[:, :, None] - at[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def _mask(grid: int, window: int, shift: int) -> torch.Tensor:
    """(windows, 1, window², window²): what is added to the scores of two positions of a rolled image's window."""
    side = grid // window
    if not shift:
        return torch.zeros(side * side, 1, 1, 1)
    edges = torch.zeros(grid, dtype=torch.int64)
    edges[grid - window :], edges[grid - shift :] = 1, 2
    regions = (3 * edges[:, None] + edges[None, :]).reshape(side, window, side, window)
    regions = regions.transpose(1, 2).reshape(side * side, 1, window * window)
    return FORBIDDEN * (regions[..., None, :] != regions[..., :, None]).float()
