"""Write forms as operators."""

from onnx_nepenthe.emit.check import Dialect, dialect_of, is_emittable
from onnx_nepenthe.emit.write import Target, emit

__all__ = ["Dialect", "Target", "dialect_of", "emit", "is_emittable"]
