"""Which axis of each value holds its channels (or features)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Shape, Tensor

Axes = Mapping[str, int]
_SPATIAL = frozenset(
    {
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "Gemm",
        "GlobalAveragePool",
        "GlobalLpPool",
        "GlobalMaxPool",
        "GroupNormalization",
        "InstanceNormalization",
        "LRN",
        "LpPool",
        "MaxPool",
        "QLinearConv",
    }
)
_LAST = frozenset(
    {
        "LayerNormalization",
        "MatMul",
        "MatMulInteger",
        "QLinearMatMul",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
    }
)


def channel_axes(view: GraphView) -> dict[str, int]:
    """Value name → axis counted from 0; values of unknown rank and scalars are left out.

    Convolutions, normalisations and pools put channels on axis 1, matrix products and layer norms on the last
    axis; movements carry the axis along and everything else keeps its operand's. Where nothing upstream tells,
    rank 1 has axis 0, rank 2 axis 1, rank 3 the last (sequences of features) and higher ranks axis 1.
    """
    axes: dict[str, int] = {}
    for name in (*view.inputs, *view.tensors):
        tensor = view.tensors.get(name)
        if tensor is not None and tensor.producer is None and tensor.constant is None:
            _set(axes, name, tensor.shape, None)
    for op in view.ops:
        for name, shape in zip(op.outputs, op.output_shapes, strict=True):
            if name:
                _set(axes, name, shape, _axis(op, shape, axes))
    return axes


def _set(axes: dict[str, int], name: str, shape: Shape | None, axis: int | None) -> None:
    if shape is None:
        return
    if axis is None or not 0 <= axis < len(shape):
        axis = _default(len(shape))
    if axis is not None:
        axes[name] = axis


def _default(rank: int) -> int | None:
    return {0: None, 1: 0, 2: 1, 3: 2}.get(rank, 1)


def _axis(op: OpView, shape: Shape | None, axes: Axes) -> int | None:
    """The axis that the operator itself determines, or None."""
    if shape is None:
        return None
    if op.op_type in _SPATIAL:
        return 1
    if op.op_type in _LAST:
        return len(shape) - 1
    operand = _carrier(op, axes)
    if operand is None or operand.shape is None:
        return None
    move = _MOVES.get(op.op_type, _kept)
    return move(op, axes[operand.name], operand.shape, shape)


def _carrier(op: OpView, axes: Axes) -> Tensor | None:
    """The operand whose axis counts: the first of the highest rank that is not a constant."""
    known = [t for t in op.inputs if t is not None and t.constant is None and t.name in axes and t.shape is not None]
    return max(known, key=lambda t: t.rank or 0, default=None)


def _kept(op: OpView, axis: int, before: Shape, after: Shape) -> int | None:
    """Same position from the right, as broadcasting counts; nothing when the operator drops axes."""
    grown = len(after) - len(before)
    return axis + grown if grown >= 0 else None


def _transposed(op: OpView, axis: int, before: Shape, after: Shape) -> int | None:
    permutation = [int(p) for p in op.attributes.get("perm") or reversed(range(len(before)))]
    return permutation.index(axis) if axis in permutation else None


def _reshaped(op: OpView, axis: int, before: Shape, after: Shape) -> int | None:
    """The axis survives when all sizes up to it, or all sizes from it on, stay as they were."""
    size, offset = before[axis], axis + len(after) - len(before)
    if not isinstance(size, int):
        return None
    if axis < len(after) and after[axis] == size and (axis <= 1 or before[1:axis] == after[1:axis]):
        return axis
    if offset >= 0 and before[axis:] == after[offset:]:
        return offset
    return None


def _squeezed(op: OpView, axis: int, before: Shape, after: Shape) -> int | None:
    axes = _axes(op, len(before))
    if axes is None:
        axes = [i for i, size in enumerate(before) if size == 1] if len(before) > len(after) else None
    if axes is None or axis in axes:
        return None
    return axis - sum(removed < axis for removed in axes)


def _unsqueezed(op: OpView, axis: int, before: Shape, after: Shape) -> int | None:
    axes = _axes(op, len(after))
    return None if axes is None else [i for i in range(len(after)) if i not in axes][axis]


def _reduced(op: OpView, axis: int, before: Shape, after: Shape) -> int | None:
    return axis if len(after) == len(before) else _squeezed(op, axis, before, after)


def _axes(op: OpView, rank: int) -> list[int] | None:
    """The `axes` attribute or second operand, counted from 0."""
    given = op.attributes.get("axes")
    constant = op.constant(1)
    if given is None and constant is not None:
        given = constant.reshape(-1).tolist()
    return None if given is None else sorted(int(axis) % rank for axis in given)


_MOVES: dict[str, Callable[[OpView, int, Shape, Shape], int | None]] = {
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    **{
        f"Reduce{kind}": _reduced
        for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
    },
}
