"""Pruning methods, one a file; importing the package fills `METHODS`."""

from onnx_nepenthe.prune.methods import easier, egp, fast, gradual, layer_folding, nepenthe, one_shot, press, sap, tlc
from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, Need, Propose

__all__ = [
    "METHODS",
    "Context",
    "Method",
    "Need",
    "Propose",
    "easier",
    "egp",
    "fast",
    "gradual",
    "layer_folding",
    "nepenthe",
    "one_shot",
    "press",
    "sap",
    "tlc",
]
