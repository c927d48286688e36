"""Regime counts of a model's rectifiers on data."""

from onnx_nepenthe.measure.record import Measurement, merge
from onnx_nepenthe.measure.run import measure

__all__ = ["Measurement", "measure", "merge"]
