"""Where data come from: one source a file, found by what the user wrote."""

from onnx_nepenthe.sources.base import SOURCES, Batch, Source, open_source
from onnx_nepenthe.sources.images import IMAGES
from onnx_nepenthe.sources.memory import MEMORY
from onnx_nepenthe.sources.npz import NPZ
from onnx_nepenthe.sources.onnx_test_sets import ONNX_TEST_SETS
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.python import PYTHON
from onnx_nepenthe.sources.split import Part

__all__ = [
    "IMAGES",
    "MEMORY",
    "NPZ",
    "ONNX_TEST_SETS",
    "PYTHON",
    "SOURCES",
    "Batch",
    "Part",
    "Source",
    "SourceOptions",
    "open_source",
]
