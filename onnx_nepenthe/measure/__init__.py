"""Regime counts of a model's rectifiers on data."""

from onnx_nepenthe.measure.record import Measurement, merge
from onnx_nepenthe.measure.run import fixed_batch, measure, padded

__all__ = ["Measurement", "fixed_batch", "measure", "merge", "padded"]
