"""Regime counts of a model's rectifiers on data."""

from onnx_nepenthe.measure.job import Collect
from onnx_nepenthe.measure.record import Measurement, merge
from onnx_nepenthe.measure.run import fixed_batch, measure, padded
from onnx_nepenthe.measure.shards import from_json, read_measurement, read_measurements, to_json

__all__ = [
    "Collect",
    "Measurement",
    "fixed_batch",
    "from_json",
    "measure",
    "merge",
    "padded",
    "read_measurement",
    "read_measurements",
    "to_json",
]
