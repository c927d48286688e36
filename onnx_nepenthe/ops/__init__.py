"""Operator readers; importing the package fills the registry."""

from onnx_nepenthe.ops import (
    arithmetic,
    axes,
    batch_normalization,
    concat,
    conv,
    conv_transpose,
    gemm,
    identity,
    matmul,
    pad,
    pool,
    slice,
    split,
)
from onnx_nepenthe.ops.base import READERS

__all__ = [
    "READERS",
    "arithmetic",
    "axes",
    "batch_normalization",
    "concat",
    "conv",
    "conv_transpose",
    "gemm",
    "identity",
    "matmul",
    "pad",
    "pool",
    "slice",
    "split",
]
