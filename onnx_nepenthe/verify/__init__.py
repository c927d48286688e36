"""Whether a rewritten model still computes the same, and which rewrite is to blame when not."""

from onnx_nepenthe.verify.blame import bisect
from onnx_nepenthe.verify.differences import OutputErrors, compare_arrays
from onnx_nepenthe.verify.run import Batch, verify
from onnx_nepenthe.verify.tolerance import tolerance
from onnx_nepenthe.verify.verdict import OutputRow, Verdict

__all__ = ["Batch", "OutputErrors", "OutputRow", "Verdict", "bisect", "compare_arrays", "tolerance", "verify"]
