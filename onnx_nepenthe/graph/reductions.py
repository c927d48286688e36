"""Reduce a tensor to one number per channel inside a graph, with the operators that are fast on a processor.

Every reduction takes two steps: first the axes beside the channels, which lie together in memory and leave one
number per sample and channel, then the rest, which is small. The first step costs one pass over the data; a
strided one costs three. A condition is counted as bytes, a quarter of the memory that a sum of floats would read:
times a vector of ones (MatMulInteger), or, where many lie together, as averages of at most 255 of them with a scale
that makes each average the number itself (QLinearGlobalAveragePool, four times as fast on 112 x 112).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.opview import Shape

FLOAT, DOUBLE = ir.DataType.FLOAT, ir.DataType.DOUBLE
INT8, INT32, INT64, UINT8 = ir.DataType.INT8, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8
_AXES_ARE_INPUTS = {"ReduceSum": 13, "ReduceMin": 18, "ReduceMax": 18}
_BYTES_SINCE = 10
"""MatMulInteger, and the zero points that averages need."""
CONTRIBUTED = "com.microsoft"
"""Operators of onnxruntime's own."""
_LONG, _SHORTEST, _LARGEST_BYTE = 1024, 64, 255
"""Averages are taken of `_LONG` trailing elements and more, in parts of `_SHORTEST` at least."""


@dataclass(frozen=True, eq=False)
class Reducer:
    """Adds reductions of tensors of one shape, each as an output of the graph.

    Attributes:
        editor: of the graph.
        shape: of the tensors; None when the rank is unknown.
        axis: of the channels; None for all elements together.
        rows: whether axis 0 stays too.
        wide: count in int64, which has no largest exact number; otherwise in whatever is fast.
        bytewise: whether MatMulInteger may be used.
        hint: what nodes are named after.
    """

    editor: Editor
    shape: Shape | None
    axis: int | None
    rows: bool
    wide: bool
    bytewise: bool
    hint: str

    def count(self, condition: ir.Value) -> str:
        """Output: how often `condition` holds; int64 when `wide`, else int32 or (exact below 2^24) float."""
        if not self.wide and self._near and self.bytewise and self.editor.opset >= _BYTES_SINCE:
            return self._count_bytes(condition)
        dtype = INT64 if self.wide else FLOAT
        return self.reduce("ReduceSum", self._cast(condition, dtype), dtype)

    def total(self, value: ir.Value) -> str:
        """Output: the sum; in the tensor's type over the first step, in double from there on."""
        near = self._reduced("ReduceSum", value, self._near, keep=True) if self._near else value
        return self.output(self._reduced("ReduceSum", self._cast(near, DOUBLE), self._all, keep=False), DOUBLE)

    def reduce(self, op_type: str, value: ir.Value, dtype: ir.DataType | None) -> str:
        """Output: `value` reduced, of its own type `dtype`."""
        if self._near and self._near != self._all:
            value = self._reduced(op_type, value, self._near, keep=True)
        return self.output(self._reduced(op_type, value, self._all, keep=False), dtype)

    def output(self, value: ir.Value, dtype: ir.DataType | None) -> str:
        """Make `value` an output and return its name."""
        value.type = None if dtype is None else ir.TensorType(dtype)
        assert value.name is not None
        self.editor.output(value)
        return value.name

    @property
    def _all(self) -> tuple[int, ...] | None:
        """The axes to reduce; None for all of a tensor of unknown rank."""
        if self.shape is None:
            return None
        kept = {self.axis, 0 if self.rows else None}
        return tuple(at for at in range(len(self.shape)) if at not in kept)

    @property
    def _near(self) -> tuple[int, ...]:
        """The axes to reduce first, all in a row; () where they are not known or there are none."""
        if self.shape is None or self.axis is None:
            return ()
        trailing = tuple(range(self.axis + 1, len(self.shape)))
        before = self.axis - 1
        return trailing or ((before,) if before > 0 or (before == 0 and not self.rows) else ())

    def _reduced(self, op_type: str, value: ir.Value, axes: Sequence[int] | None, *, keep: bool) -> ir.Value:
        """No axes at all would mean all axes, hence Identity."""
        if axes is not None and len(axes) == 0:
            return self.editor.node("Identity", [value], hint=self.hint)
        inputs: list[ir.Value | None] = [value]
        attributes: dict[str, int | list[int]] = {"keepdims": int(keep)}
        if axes is not None and self.editor.opset >= _AXES_ARE_INPUTS[op_type]:
            inputs.append(self.editor.constant("axes", np.asarray(axes), "int64"))
        elif axes is not None:
            attributes["axes"] = list(axes)
        return self.editor.node(op_type, inputs, attributes, hint=self.hint)

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        return self.editor.node("Cast", [value], {"to": int(dtype)}, hint=self.hint)

    def _count_bytes(self, condition: ir.Value) -> str:
        """Products of bytes as a matrix times ones; int32 is exact up to 2^31 elements in a run."""
        assert self.shape is not None
        assert self.axis is not None
        trailing = self.shape[self.axis + 1 :]
        size = product(trailing)
        part = _part(size)
        if self.axis == 1 and part and isinstance(self.shape[1], int):
            return self._count_parts(self._cast(condition, UINT8), self.shape[1], part)
        if trailing:
            bits = self._reshaped(self._cast(condition, UINT8), [*[0] * (self.axis + 1), -1])
            operands = [bits, self._ones(bits, self.axis + 1, size, row=False)]
        else:
            bits = self._cast(condition, INT8)
            operands = [self._ones(bits, self.axis - 1, self.shape[self.axis - 1], row=True), bits]
        counted = self.editor.node("MatMulInteger", operands, hint=self.hint)
        rank = self.axis + 1 + (1 if trailing else 0)
        return self.output(self._reduced("ReduceSum", counted, self._others(rank), keep=False), INT32)

    def _count_parts(self, bits: ir.Value, channels: int, part: int) -> str:
        """The average of `part` bytes of 0 or 1, on a scale of 1 / part, is their number."""
        scales = [self.editor.constant("scale", float(scale), "float") for scale in (part, 1)]
        zero = self.editor.constant("zero", 0, "uint8")
        counted = self.editor.node(
            "QLinearGlobalAveragePool",
            [self._reshaped(bits, [0, -1, 1, part]), scales[0], zero, scales[1], zero],
            {"channels_last": 0},
            hint=self.hint,
            domain=CONTRIBUTED,
        )
        parts = self._cast(self._reshaped(counted, [0, channels, -1]), INT32)
        return self.output(self._reduced("ReduceSum", parts, self._others(3), keep=False), INT32)

    def _others(self, rank: int) -> list[int]:
        """The axes to reduce of a tensor of `rank` with the channels and samples where they were."""
        kept = {self.axis, 0 if self.rows else None}
        return [at for at in range(rank) if at not in kept]

    def _reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Zeros in `shape` copy the size that is there."""
        return self.editor.node(
            "Reshape", [value, self.editor.constant("to", np.array(shape), "int64")], hint=self.hint
        )

    def _ones(self, like: ir.Value, axis: int, known: int | str | None, *, row: bool) -> ir.Value:
        """Ones, (1, T) for a `row` and else (T, 1); T is the size of `axis` of `like`, `known` or not.

        The product is fastest with its second operand signed and its first not.
        """
        dtype = "uint8" if row else "int8"
        if isinstance(known, int):
            return self.editor.constant("ones", np.ones((1, known) if row else (known, 1)), dtype)
        one = self.editor.constant("one", np.array([1]), "int64")
        shape = self.editor.node("Shape", [like], hint=self.hint)
        at = self.editor.constant("axis", np.array([axis]), "int64")
        size = self.editor.node("Gather", [shape, at], hint=self.hint)
        pair = self.editor.node("Concat", [one, size] if row else [size, one], {"axis": 0}, hint=self.hint)
        return self.editor.node("ConstantOfShape", [pair], {"value": self.editor.tensor([1], dtype)}, hint=self.hint)


def _part(size: int | None) -> int | None:
    """The largest divisor of `size` that a byte can hold; None where such parts are small or the whole is.

    >>> _part(112 * 112), _part(14 * 14), _part(1031), _part(None)
    (224, None, None, None)
    """
    if size is None or size < _LONG:
        return None
    return next((part for part in range(_LARGEST_BYTE, _SHORTEST - 1, -1) if size % part == 0), None)


def product(sizes: Shape) -> int | None:
    """Of all sizes; None when one of them is known only in a run."""
    known = [size for size in sizes if isinstance(size, int)]
    return int(np.prod(known, dtype=np.int64)) if len(known) == len(sizes) else None
