"""Sizes that symbolic axes have in one run."""

from __future__ import annotations

import logging

import numpy as np

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.snippet import with_outputs
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.latency.pairs import Feeds
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.session import SessionConfig, open_session

LOG = logging.getLogger(__name__)


def run_sizes(model: Model, view: GraphView, feeds: Feeds, config: SessionConfig) -> dict[str, int]:
    """Sizes of symbolic axes in one run on `feeds`; empty when the model cannot be run."""
    names: dict[str, str] = {}
    dims: dict[str, int] = {}
    for name in view.inputs:
        if name in feeds:
            _bind(view.tensors[name], feeds[name].shape, dims)
    for tensor in view.tensors.values():
        for size in tensor.shape or ():
            if isinstance(size, str) and size not in dims and tensor.dtype in ("float", "float16", "double"):
                names.setdefault(size, tensor.name)
    wanted = list(dict.fromkeys(names.values()))
    if not wanted:
        return dims
    try:
        results = open_session(with_outputs(model, wanted), config).run(feeds)
    except (UnsupportedError, ValueError, KeyError):
        LOG.warning("sizes that are known only at run time could not be found out")
        return dims
    for name, result in zip(wanted, results, strict=True):
        if isinstance(result, np.ndarray):
            _bind(view.tensors[name], result.shape, dims)
    return dims


def _bind(tensor: Tensor, shape: tuple[int, ...], dims: dict[str, int]) -> None:
    for symbol, size in zip(tensor.shape or (), shape, strict=False):
        if isinstance(symbol, str):
            dims.setdefault(symbol, size)
