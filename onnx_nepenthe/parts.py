"""Time that a substitute saves: its part of a model and the fitted operator, each timed once for all like it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.costs import entrances, op_signature, random_input, with_fused
from onnx_nepenthe.errors import UnsupportedError, UsageError
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.graph.snippet import cut
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.latency import OperatorTable
from onnx_nepenthe.plan import Region
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.substitutes import Substitute

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of one model, timed.

    Attributes:
        model, view: the model.
        dims: sizes of symbolic axes.
        table: where timings are kept, or come from.
    """

    model: Model
    view: GraphView
    dims: Mapping[str, int]
    table: OperatorTable

    def gain_ms(self, substitute: Substitute, region: Callable[[], Region]) -> float:
        """Milliseconds saved; 0 for what cannot be timed or the table does not know.

        Args:
            substitute: which part.
            region: gives the rewrite that makes it, where it is to be timed; only the sizes of its map matter.
        """
        end = with_fused(self.view, substitute.target)
        key = self._key(substitute)
        try:
            before = self.table.cost_s(f"part {key}", lambda: self._built(substitute, end, None))
            after = self.table.cost_s(f"substitute {key}", lambda: self._built(substitute, end, region()))
        except (UnsupportedError, ValueError, KeyError) as error:
            LOG.info("%s cannot be timed: %s", substitute.label, error)
            return 0.0
        return 1e3 * (before - after)

    def model_ms(self, feeds: Mapping[str, Any]) -> float:
        """Milliseconds that one call of the whole model takes.

        Raises:
            UsageError: another device's table does not know the model.
        """
        sizes = json.dumps({name: array.shape for name, array in sorted(feeds.items())})
        try:
            return 1e3 * self.table.cost_s(f"model {digest(self.model)} {sizes}", lambda: (self.model, feeds))
        except UnsupportedError as error:
            raise UsageError(
                "the latency table does not know this model at this batch; measure it there with "
                "`bench --table`, with the --batch that --latency-batch is here"
            ) from error

    def _built(self, substitute: Substitute, end: str, region: Region | None) -> tuple[Model, dict[str, Any]]:
        inputs = entrances(self.view, [substitute.entry], self.dims)
        part: Model = cut(self.model, inputs, [end])
        if region is not None:
            part = rewrite(part, self.view, [region])
        return part, {entrance.name: random_input(entrance.shape, entrance.dtype) for entrance in inputs}

    def _key(self, substitute: Substitute) -> str:
        """All that both times depend on, and no names: the same for equal parts of any model."""
        view = self.view
        shape = concrete(view.tensors[substitute.entry].shape or (), self.dims)
        inside = [op for op in view.ops if op.key in substitute.ops]
        position = {name: at for at, op in enumerate(inside) for name in op.outputs if name}
        wiring = [
            [position.get(t.name, -1) for t in op.inputs if t is not None and t.constant is None] for op in inside
        ]
        signatures = [op_signature(op, self.dims) for op in inside]
        end = with_fused(self.view, substitute.target) != substitute.target
        keep: object = None if substitute.slim is None else substitute.slim.keep
        if substitute.offer is not None:
            keep = substitute.offer.key
        return json.dumps([substitute.kind, keep, substitute.strides, shape, signatures, wiring, end])
