"""Builds digits-mlp.onnx: transformer-style MLP blocks; rectifiers between dense layers became linear by training.

Flatten, two dense layers with a LeakyReLU between them, three pre-norm residual blocks Linear → activation → Linear
(GELU, ReLU, GELU), LayerNorm, one dense layer.
"""

import digits
from torch import Tensor, nn

from onnx_nepenthe.prune.methods.press import PressConfig
from onnx_nepenthe.prune.recipe import Recipe

WIDTH = 64
HIDDEN = 256


class Stem(nn.Module):
    """Dense, LeakyReLU, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 2 * WIDTH)
        self.act = nn.LeakyReLU(0.1)
        self.outer = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 64) → (N, WIDTH)."""
        return self.outer(self.act(self.inner(x)))


class Block(nn.Module):
    """x + Linear(act(Linear(LayerNorm(x))))."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.act = act
        self.down = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Shape is kept."""
        return x + self.down(self.act(self.up(self.norm(x))))


class DigitsMlp(nn.Module):
    """(N, 1, 8, 8) → logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.stem = Stem()
        self.block1 = Block(nn.GELU())
        self.block2 = Block(nn.ReLU())
        self.block3 = Block(nn.GELU())
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        x = self.stem(self.flatten(x))
        x = self.block3(self.block2(self.block1(x)))
        return self.head(self.norm(x))


RECIPE = Recipe(
    epochs=60,
    batch=64,
    lr=1e-3,
    optimiser="adamw",
    weight_decay=0.05,
    vectors=4,
    schedule="cosine",
    warm_up=2,
    crop=1,
    smoothing=0.05,
)
PRESS = PressConfig(sites="stem.act,block2.act", epochs=3, distance=0.12)

if __name__ == "__main__":
    digits.main(DigitsMlp, RECIPE, PRESS, "digits-mlp", opset=20)
