"""The rectifiers of a graph and the axes their channels lie on."""

from onnx_nepenthe.rectifiers.channels import channel_axes
from onnx_nepenthe.rectifiers.find import Rectifier, RefusedRectifier, find_rectifiers, parts_of

__all__ = ["Rectifier", "RefusedRectifier", "channel_axes", "find_rectifiers", "parts_of"]
