"""Parts that several networks are made of."""

from __future__ import annotations

import torch
from torch import nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a skip, a rectifier after each.

    Source: He et al. (arXiv 1512.03385), §3.3 with option B: a 1×1 projection where sizes differ.
    """

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inside != out:
            self.skip = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inside, h, w) → (N, out, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        result: torch.Tensor = self.relu(y + self.skip(x))
        return result


class Head(nn.Module):
    """Mean over space, then one dense layer."""

    def __init__(self, inside: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inside, h, w) → (N, classes)."""
        result: torch.Tensor = self.fc(x.mean((2, 3)))
        return result


class Perceptron(nn.Module):
    """The MLP of a transformer block: dense, GELU, dense."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, dim) → (…, dim)."""
        result: torch.Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class Attention(nn.Module):
    """Self-attention over tokens, with an optional bias of the scores."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """(…, tokens, dim) → (…, tokens, dim); the bias broadcasts to the scores, (…, heads, tokens, tokens)."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, self.size)).movedim(-3, 0).transpose(-3, -2)
        scores = parts[0] @ parts[1].transpose(-2, -1) * self.size**-0.5
        scores = scores if bias is None else scores + bias
        mixed = scores.softmax(-1) @ parts[2]
        result: torch.Tensor = self.proj(mixed.transpose(-3, -2).flatten(-2))
        return result


def initialise(network: nn.Module) -> None:
    """Normal weights of deviation 0.02 and no biases in dense layers, as transformers start."""
    for part in network.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
