"""Which values hold one entry per sample on axis 0."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnx_nepenthe.graph.view import GraphView, view_from_model

_SAMPLES = "nepenthe_samples"


def values_with_samples(model: ir.Model, names: Collection[str], batch: int) -> frozenset[str]:
    """Those of the values `names` whose axis 0 holds the samples, in a model for batches of exactly `batch`.

    The batch is made symbolic and followed by shape inference. A value that it does not reach (behind a Reshape to
    constants) is taken to have it when axis 0 has its size.
    """
    copy = model.clone()
    for value in copy.graph.inputs:
        if value.name not in copy.graph.initializers and value.shape:
            value.shape = ir.Shape([_SAMPLES, *value.shape[1:]])
    for node in copy.graph:
        for value in node.outputs:
            value.shape = None
    view = view_from_model(copy)
    return frozenset(name for name in names if _has_samples(view, name, batch))


def _has_samples(view: GraphView, name: str, batch: int) -> bool:
    shape = view.tensors[name].shape if name in view.tensors else None
    if not shape:
        return False
    return shape[0] == _SAMPLES or (_SAMPLES not in shape and shape[0] == batch)
