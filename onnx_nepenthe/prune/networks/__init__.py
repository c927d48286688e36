"""Networks to prune, one a file; importing the package fills `NETWORKS`."""

from onnx_nepenthe.prune.networks import mlp, mobilenet_v2, resnet18, resnet20, swin, vgg16_bn, vit
from onnx_nepenthe.prune.networks.base import NETWORKS, Build

__all__ = ["NETWORKS", "Build", "mlp", "mobilenet_v2", "resnet18", "resnet20", "swin", "vgg16_bn", "vit"]
