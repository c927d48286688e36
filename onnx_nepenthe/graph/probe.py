"""Count inside the graph: a copy of a model whose outputs are counts instead of results.

For every target value z and knot t the copy returns how many elements lie above and below t, per channel,
beside z's shape, minimum, maximum and sum. Ties and NaN follow from these, so no operator newer than opset 7
is needed. Parts of the model that no target depends on are gone from the copy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import Tensor

FloatArray = npt.NDArray[np.float64]
OLDEST_OPSET = 7
"""Before it, operators broadcast by attributes."""
_FLOAT, _INT64, _DOUBLE = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.DOUBLE
_AXES_ARE_INPUTS = {"ReduceSum": 13, "ReduceMin": 18, "ReduceMax": 18}


@dataclass(frozen=True, eq=False)
class Target:
    """A value to count.

    Attributes:
        key: names the target.
        value: name of z in the main graph.
        knots: increasing; each float64 () or (channels,).
        axis: z's channel axis; None to take all elements for one channel.
        channels: size of that axis, else 1.
    """

    key: str
    value: str
    knots: tuple[FloatArray, ...]
    axis: int | None = None
    channels: int = 1


@dataclass(frozen=True, eq=False)
class Taps:
    """Names of the outputs that belong to one target.

    Counts, minima, maxima and sums have shape (channels,), or (samples, channels) when `rows`; without a
    channel axis the last dimension is missing.

    Attributes:
        target: what is counted.
        rows: each sample is counted apart.
        careful: counts are int64 and `valid` exists; otherwise they are floats, exact below 2^24.
        shape: int64 (rank,), z's shape in this run.
        above, below: per knot, elements greater and less than it.
        low, high, total: minimum, maximum and sum of z; the sum is NaN when some z is.
        valid: elements that are not NaN ("" unless `careful`).
    """

    target: Target
    rows: bool
    careful: bool
    shape: str
    above: tuple[str, ...]
    below: tuple[str, ...]
    low: str
    high: str
    total: str
    valid: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All outputs to fetch."""
        names = (self.shape, *self.above, *self.below, self.low, self.high, self.total)
        return (*names, self.valid) if self.valid else names


@dataclass(frozen=True, eq=False)
class Probe:
    """A model that counts.

    Attributes:
        model: has the inputs of the original and only counts as outputs.
        taps: one per target.
    """

    model: ir.Model
    taps: tuple[Taps, ...]


def why_not_countable(view: GraphView, target: Target) -> str:
    """The reason why `target` cannot be counted, "" when it can."""
    tensor = view.tensors.get(target.value)
    if tensor is None:
        return f"its operand {target.value!r} is not in the main graph"
    if tensor.dtype not in ("", "float", "float16", "bfloat16", "double"):
        return f"its operand {target.value!r} is {tensor.dtype}, not a floating-point type"
    per_channel = any(knot.size > 1 for knot in target.knots)
    if target.axis is None:
        return "its knots differ by channel but its channel axis is unknown" if per_channel else ""
    if tensor.rank is None:
        return f"the rank of its operand {target.value!r} is unknown"
    return ""


def build_probe(
    model: ir.Model,
    view: GraphView,
    targets: Sequence[Target],
    *,
    careful: Collection[str] = (),
    rows: Collection[str] = (),
) -> Probe:
    """A copy of `model` that returns counts.

    Args:
        model: not changed.
        view: of the same model.
        targets: at least one, all countable (`why_not_countable`).
        careful: keys of targets with NaN or very many elements.
        rows: names of values whose samples (axis 0) are counted apart; see `samples.values_with_samples`.

    Raises:
        UnsupportedError: the model's opset is older than 7.
    """
    editor = Editor(model)
    if editor.opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"opset {editor.opset} is too old to measure (7 at least); convert the model with onnx.version_converter"
        )
    graph = editor.value(targets[0].value).graph
    assert graph is not None
    graph.outputs.clear()
    taps = tuple(
        _tap(editor, t, view.tensors[t.value], careful=t.key in careful, rows=t.value in rows) for t in targets
    )
    return Probe(editor.finish(), taps)


def _tap(editor: Editor, target: Target, tensor: Tensor, *, careful: bool, rows: bool) -> Taps:
    rank = tensor.rank
    axis = target.axis if target.axis is None or rank is None else target.axis % rank
    rows = rows and bool(rank) and axis != 0
    kept = {a for a in (axis, 0 if rows else None) if a is not None}
    axes = None if rank is None else tuple(a for a in range(rank) if a not in kept)
    z, dtype = _comparable(editor, editor.value(target.value), tensor.dtype)
    counter = _Counter(editor, axes, _INT64 if careful else _FLOAT, target.key)
    trailing = 0 if axis is None or rank is None else rank - axis - 1
    bounds = [_bounds(knot, trailing, dtype) for knot in target.knots]
    taps = Taps(
        target=replace(target, axis=axis),
        rows=rows,
        careful=careful,
        shape=counter.output(editor.node("Shape", [editor.value(target.value)], hint=target.key), _INT64),
        above=tuple(counter.compare("Greater", z, floor, dtype) for floor, _ in bounds),
        below=tuple(counter.compare("Less", z, ceiling, dtype) for _, ceiling in bounds),
        low=counter.reduced("ReduceMin", z, z.dtype),
        high=counter.reduced("ReduceMax", z, z.dtype),
        total=counter.reduced("ReduceSum", z, z.dtype),
    )
    return replace(taps, valid=counter.count(_is_number(editor, z, dtype, target.key))) if careful else taps


@dataclass(frozen=True, eq=False)
class _Counter:
    """Adds outputs that reduce over `axes` (None: all) in the type `counts`."""

    editor: Editor
    axes: tuple[int, ...] | None
    counts: ir.DataType
    hint: str

    def compare(self, op_type: str, z: ir.Value, bound: FloatArray, dtype: str) -> str:
        """Output: how many z compare with `bound`."""
        knot = self.editor.constant("knot", bound, dtype)
        return self.count(self.editor.node(op_type, [z, knot], hint=self.hint))

    def count(self, condition: ir.Value) -> str:
        """Output: how often `condition` holds."""
        ones = self.editor.node("Cast", [condition], {"to": int(self.counts)}, hint=self.hint)
        return self.reduced("ReduceSum", ones, self.counts)

    def reduced(self, op_type: str, value: ir.Value, dtype: ir.DataType | None) -> str:
        """Output: `value` reduced; no axes at all would mean all axes, hence Identity."""
        if self.axes == ():
            return self.output(self.editor.node("Identity", [value], hint=self.hint), dtype)
        inputs: list[ir.Value | None] = [value]
        attributes: dict[str, int | list[int]] = {"keepdims": 0}
        if self.axes is not None and self.editor.opset >= _AXES_ARE_INPUTS[op_type]:
            inputs.append(self.editor.constant("axes", np.asarray(self.axes), "int64"))
        elif self.axes is not None:
            attributes["axes"] = list(self.axes)
        return self.output(self.editor.node(op_type, inputs, attributes, hint=self.hint), dtype)

    def output(self, value: ir.Value, dtype: ir.DataType | None) -> str:
        """Make `value` an output and return its name."""
        value.type = None if dtype is None else ir.TensorType(dtype)
        assert value.graph is not None
        assert value.name is not None
        value.graph.outputs.append(value)
        return value.name


def _comparable(editor: Editor, value: ir.Value, dtype: str) -> tuple[ir.Value, str]:
    """z in a type that every comparison and reduction takes and that holds it exactly."""
    if dtype in ("float", "double"):
        if value.dtype is None:
            value.type = ir.TensorType(_FLOAT if dtype == "float" else _DOUBLE)
        return value, dtype
    wide = _DOUBLE if dtype == "" else _FLOAT
    cast = editor.node("Cast", [value], {"to": int(wide)}, hint=value.name or "z")
    cast.type = ir.TensorType(wide)
    return cast, wide.name.lower()


def _bounds(knot: FloatArray, trailing: int, dtype: str) -> tuple[FloatArray, FloatArray]:
    """The largest number of `dtype` <= knot and the smallest >= knot, shaped to broadcast.

    Comparing z with them is comparing it with the knot itself, also when `dtype` cannot hold the knot:
    z > knot if and only if z > floor, z < knot if and only if z < ceiling.
    """
    shaped = knot.reshape(()) if knot.size == 1 else knot.reshape(-1, *[1] * trailing)
    if dtype == "double":
        return shaped, shaped
    with np.errstate(over="ignore"):
        near = shaped.astype(np.float32)
    down, up = np.float32(-np.inf), np.float32(np.inf)
    floor = np.where(near > shaped, np.nextafter(near, down), near)
    ceiling = np.where(near < shaped, np.nextafter(near, up), near)
    return floor.astype(np.float64), ceiling.astype(np.float64)


def _is_number(editor: Editor, z: ir.Value, dtype: str, hint: str) -> ir.Value:
    """False for NaN alone: everything else is above -1 or below 1 (IsNaN came with opset 9)."""
    above = editor.node("Greater", [z, editor.constant("knot", -1.0, dtype)], hint=hint)
    below = editor.node("Less", [z, editor.constant("knot", 1.0, dtype)], hint=hint)
    return editor.node("Or", [above, below], hint=hint)
