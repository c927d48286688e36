"""`--latency measured`: every candidate operator timed on the target, each distinct one once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.cost import concrete, form_cost
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel, SpatialMean, is_constant, is_identity
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.emit import Target, emit
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.snippet import INPUT, Entrance, blank, cut
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.latency import SMALLEST_COST_S, OperatorTable
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.prices import MultiplyAdds, kept_cost
from onnx_nepenthe.regions import Affine

HOPELESS = 12.0
"""A candidate with this many times the multiply-adds of what it replaces is not worth timing."""
BEST_GAIN = 2 / 3
"""Seconds per multiply-add of a composition that takes long to compute, relative to the best of what it replaces."""
SECONDS_PER_MAC = 2e-11
"""Price, in seconds, of what cannot be timed; only its order of magnitude matters."""
NEVER_S = 1e6
"""Price of an operator that another device's table does not know: what stands in the model is kept."""
MUST_GAIN = 1.02
"""What a timed candidate counts for, relative to an operator that is there already."""
FUSED = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid"})
"""Activations that runtimes fuse into the operator before them; timed together with it."""


@dataclass
class MeasuredCosts:
    """Seconds per call of one operator with the activation that follows it.

    Attributes:
        model, view: what the operators belong to.
        table: where timings are kept.
        dims: sizes of symbolic axes.
    """

    model: Model
    view: GraphView
    table: OperatorTable
    dims: Mapping[str, int]
    _estimate: MultiplyAdds = field(init=False)
    _rates: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._estimate = MultiplyAdds(self.dims)

    def single(self, form: Form, value: str) -> float:
        """Timed with random input of the source's shape; a little dearer than timed, so that ties change nothing."""
        if form.is_straight and is_identity(form.core):
            return 0.0
        shape = concrete(form.source, self.dims)
        after = fused_after(self.view, value)
        key = json.dumps([form_signature(form), shape, self.view.tensors[value].dtype, after.op_type if after else ""])
        if self._is_hopeless(form, value):
            return NEVER_S if self.table.is_closed else self._estimate.single(form, value) * SECONDS_PER_MAC
        try:
            return MUST_GAIN * self.table.cost_s(key, lambda: self._build(form, value, shape, after))
        except UnsupportedError:
            return NEVER_S if self.table.is_closed else self._estimate.single(form, value) * SECONDS_PER_MAC

    def keep(self, value: Affine, form: Form | None) -> float:
        """Timed as it stands in the model, with random inputs."""
        kept = kept_cost(value, form, self.dims)
        if not kept.elements and not kept.macs:
            return SMALLEST_COST_S
        price = self._kept_price(value, form)
        if kept.macs:
            self._rates[value.name] = price / kept.macs
        return price

    def floor(self, outline: Form, replaced: Sequence[str]) -> float:
        """Half as fast again, per multiply-add, as the fastest weighted operator it replaces."""
        rates = [self._rates[name] for name in replaced if name in self._rates]
        return BEST_GAIN * min(rates, default=0.0) * form_cost(outline, self.dims).macs

    def _kept_price(self, value: Affine, form: Form | None) -> float:
        operands = [operand for operand in value.op.inputs if operand is not None and operand.constant is None]
        after = fused_after(self.view, value.name)
        key = json.dumps(["keep", op_signature(value.op, self.dims), after.op_type if after else ""])
        try:
            return self.table.cost_s(key, lambda: self._cut(value, operands, after))
        except (UnsupportedError, ValueError):
            return self._estimate.keep(value, form) * SECONDS_PER_MAC

    def _is_hopeless(self, form: Form, value: str) -> bool:
        kept = self.view.tensors[value].producer
        before = sum(_macs_upstream(kept, form, self.dims)) if kept is not None else 0
        return before > 0 and form_cost(form, self.dims).macs > HOPELESS * before

    def _build(self, form: Form, value: str, shape: tuple[int, ...], after: OpView | None) -> Any:
        dtype = self.view.tensors[value].dtype
        editor = Editor(blank(shape, dtype, self.model))
        result = emit(form, editor.value(INPUT), Target(editor, dtype, "y"))
        if after is not None:
            operands = [result, *(_constant(editor, operand) for operand in after.inputs[1:])]
            result = editor.node(after.op_type, operands, after.attributes, hint="y")
        editor.output(result)
        return editor.finish(), {INPUT: random_input(shape, dtype)}

    def _cut(self, value: Affine, operands: list[Tensor], after: OpView | None) -> Any:
        names = list(dict.fromkeys(operand.name for operand in operands))
        inputs = entrances(self.view, names, self.dims)
        outputs = [after.outputs[0]] if after is not None else [name for name in value.op.outputs if name]
        return cut(self.model, inputs, outputs), {e.name: random_input(e.shape, e.dtype) for e in inputs}


def fused_after(view: GraphView, value: str) -> OpView | None:
    """The activation that runtimes compute together with the operator that makes `value`, if there is one."""
    users = view.consumers.get(value, ())
    if len(users) != 1 or view.is_pinned(value):
        return None
    op = view.ops[users[0]]
    is_alone = all(operand is None or operand.constant is not None for operand in op.inputs[1:])
    return op if op.op_type in FUSED and op.domain == "" and is_alone else None


def with_fused(view: GraphView, value: str) -> str:
    """`value`, or what the activation that is computed together with it makes of it."""
    after = fused_after(view, value)
    return value if after is None else after.outputs[0]


def _constant(editor: Editor, operand: Tensor | None) -> Any:
    if operand is None or operand.constant is None:
        return None
    return editor.constant(operand.name, operand.constant, operand.dtype)


def entrances(view: GraphView, names: Sequence[str], dims: Mapping[str, int]) -> list[Entrance]:
    """The values as inputs of a part of the model."""
    tensors = [view.tensors[name] for name in names]
    return [Entrance(t.name, concrete(t.shape or (), dims), t.dtype or "float") for t in tensors]


def _macs_upstream(op: OpView, form: Form, dims: Mapping[str, int]) -> list[int]:
    """Multiply-adds of the weighted operators that a form replaces, found by walking a few operators back."""
    found, seen = [], set()
    todo: list[tuple[OpView, int]] = [(op, 0)]
    while todo:
        current, depth = todo.pop()
        if current.key in seen or depth > 8:
            continue
        seen.add(current.key)
        weight = current.constant(1)
        if current.op_type in ("Conv", "Gemm", "MatMul") and weight is not None and current.output_shapes[0]:
            out = concrete(current.output_shapes[0], dims)
            positions = int(np.prod([out[0], *out[2:]], dtype=np.int64))
            found.append(int(weight.size) * positions)
        todo += [(t.producer, depth + 1) for t in current.inputs if t is not None and t.producer is not None]
    return found


def form_signature(form: Form) -> list[Any]:
    """All of a form that its time depends on, and none of its numbers.

    Nothing is computed of a constant, and a border is one too, where sizes are known.
    """
    known = [isinstance(size, int) for size in form.source]
    return [_core_signature(form.core), [list(group) for group in form.view], known, is_constant(form.core)]


def _core_signature(core: Any) -> list[Any]:
    match core:
        case PerChannel(axis=axis, scale=scale, offset=offset):
            return ["line", axis, bool((scale != 1).any()), bool(offset.any())]
        case Dense(axis=axis, weight=weight, bias=bias):
            return ["dense", axis, weight.shape, bool(bias.any())]
        case SpatialMean(then=then):
            return ["mean", _core_signature(then)]
        case Conv() as m:
            geometry = [m.strides, m.dilations, m.pads_begin, m.pads_end, m.groups]
            return ["conv", m.weight.shape, geometry, bool(m.bias.any()), m.border is not None]
        case TransposedConv() as m:
            geometry = [m.strides, m.dilations, m.pads_begin, m.pads_end, m.output_padding, m.groups]
            return ["transposed", m.weight.shape, geometry, bool(m.bias.any())]
    raise AssertionError(f"{core!r} is not an affine map")


def op_signature(op: OpView, dims: Mapping[str, int]) -> list[Any]:
    """The same for an operator of a graph."""
    operands: list[Any] = []
    for operand in op.inputs:
        if operand is None:
            operands.append(None)
        else:
            shape = concrete(operand.shape or (), dims)
            operands.append([operand.dtype, shape, _digest(operand.constant)])
    attributes = {name: repr(value) for name, value in sorted(op.attributes.items())}
    return [op.op_type, op.version, attributes, operands]


def _digest(constant: npt.NDArray[Any] | None) -> str | None:
    """Small integers decide shapes; of weights only the shape matters, and it is in the signature."""
    if constant is None:
        return None
    return hashlib.sha256(constant.tobytes()).hexdigest()[:12] if constant.dtype.kind in "iu" else "weights"


def random_input(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Standard normal numbers of ONNX type `dtype`, the same ones each time."""
    rng = np.random.default_rng(0)
    numbers = {"float16": np.float16, "double": np.float64}
    return np.asarray(rng.standard_normal(shape)).astype(numbers.get(dtype, np.float32))
