"""Measured time: whole models against each other, and single operators."""

from onnx_nepenthe.latency.alone import Quantiles, Timing, time_alone
from onnx_nepenthe.latency.feeds import random_feeds
from onnx_nepenthe.latency.pairs import Comparison, compare
from onnx_nepenthe.latency.table import SMALLEST_COST_S, OperatorTable

__all__ = [
    "SMALLEST_COST_S",
    "Comparison",
    "OperatorTable",
    "Quantiles",
    "Timing",
    "compare",
    "random_feeds",
    "time_alone",
]
