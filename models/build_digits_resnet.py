"""Builds digits-resnet.onnx: a small residual convnet in which whole blocks became linear by training.

A 3x3 stem, one basic residual block whose padding sits on its first convolution (so that the two merge exactly once
the rectifier between them is linear), three inverted residual blocks, a 1x1 convolution, global average pooling, one
dense layer.
BatchNormalization stays a node of its own.
"""

import digits
from torch import Tensor, nn

from onnx_nepenthe.prune.methods.press import PressConfig
from onnx_nepenthe.prune.recipe import Recipe

WIDTH = 48
EXPAND = 6
TOP = 64


class Unit(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 8, 8) → (N, outputs, 8, 8)."""
        return self.act(self.bn(self.conv(x)))


class Basic(nn.Module):
    """Two 3x3 convolutions and a skip; the first pads by two, the second not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(WIDTH)
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Shape is kept."""
        inner = self.act1(self.bn1(self.conv1(x)))
        return self.act2(x + self.bn2(self.conv2(inner)))


class Inverted(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection, skip (MobileNetV2, arXiv 1801.04381)."""

    def __init__(self) -> None:
        super().__init__()
        inner = WIDTH * EXPAND
        self.expand = nn.Conv2d(WIDTH, inner, 1, bias=False)
        self.expand_bn = nn.BatchNorm2d(inner)
        self.expand_act = nn.ReLU6()
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(inner)
        self.depthwise_act = nn.ReLU6()
        self.project = nn.Conv2d(inner, WIDTH, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Shape is kept."""
        inner = self.expand_act(self.expand_bn(self.expand(x)))
        inner = self.depthwise_act(self.depthwise_bn(self.depthwise(inner)))
        return x + self.project_bn(self.project(inner))


class DigitsResNet(nn.Module):
    """(N, 1, 8, 8) → logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(1, WIDTH, 3)
        self.basic = Basic()
        self.inverted1 = Inverted()
        self.inverted2 = Inverted()
        self.inverted3 = Inverted()
        self.top = Unit(WIDTH, TOP, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(TOP, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        x = self.basic(self.stem(x))
        x = self.inverted3(self.inverted2(self.inverted1(x)))
        return self.head(self.pool(self.top(x)).flatten(1))


RECIPE = Recipe(
    epochs=10,
    batch=64,
    lr=3e-3,
    optimiser="adamw",
    weight_decay=0.05,
    vectors=4,
    schedule="cosine",
    warm_up=2,
    crop=1,
    smoothing=0.05,
)
# Whole blocks, so that each becomes one convolution. The last rectifier, in front of the pool, is left alone: the
# classifier needs it most.
PRESS = PressConfig(sites="basic.*,inverted2.*,inverted3.*", epochs=2.6, distance=0.2, frozen=0.08, off_share=0.75)

if __name__ == "__main__":
    digits.main(DigitsResNet, RECIPE, PRESS, "digits-resnet", opset=18)
