"""Measured time and memory: whole models against each other, and single operators."""

from onnx_nepenthe.latency.alone import Quantiles, Timing, time_alone
from onnx_nepenthe.latency.feeds import random_feeds
from onnx_nepenthe.latency.footprint import Footprint, footprint_of
from onnx_nepenthe.latency.pairs import Comparison, compare
from onnx_nepenthe.latency.table import SMALLEST_COST_S, OperatorTable
from onnx_nepenthe.latency.turns import compare_in_turns

__all__ = [
    "SMALLEST_COST_S",
    "Comparison",
    "Footprint",
    "OperatorTable",
    "Quantiles",
    "Timing",
    "compare",
    "compare_in_turns",
    "footprint_of",
    "random_feeds",
    "time_alone",
]
