"""onnx-nepenthe: fewer layers, the same numbers, never slower."""

__version__ = "0.1.0"
