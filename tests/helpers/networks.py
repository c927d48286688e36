"""Realistic networks from a seed: the blocks of well-known architectures in small random widths."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import onnx

from tests.helpers import convnets, tokens
from tests.helpers.build import Array
from tests.helpers.forcing import Network

SHARES = (0.3, 0.6, 1.0)
OPSETS = (13, 17, 18, 20)
Architecture = Callable[[Network], str]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A network, data for it, and by result its rectifiers and those forced to be lines on the data."""

    name: str
    seed: int
    model: onnx.ModelProto
    data: dict[str, Array]
    kinds: dict[str, str]
    forced: dict[str, str]


def draw_network(name: str, seed: int, opset: int | None = None) -> Drawn:
    """The network of this architecture and seed."""
    source = random.Random(f"{name} {seed}")
    net = Network(source, source.choice(SHARES), opset or source.choice(OPSETS))
    out = ARCHITECTURES[name](net)
    model = net.finish([out])
    return Drawn(name, seed, model, net.data, net.kinds, net.forced)


ARCHITECTURES: dict[str, Architecture] = {
    "ResNet": convnets.resnet,
    "MobileNetV2": convnets.mobilenet,
    "Inception": convnets.inception,
    "DenseNet": convnets.densenet,
    "RepVGG": convnets.repvgg,
    "U-Net": convnets.unet,
    "ShuffleNet": convnets.shufflenet,
    "VGG": convnets.vgg,
    "1-D": convnets.temporal,
    "3-D": convnets.volumetric,
    "ViT": tokens.vit,
    "MLP-Mixer": tokens.mixer,
}
