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
from onnx_nepenthe.graph.comparing import bounds_of_knot, comparable, is_number
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.reductions import FLOAT, INT64, Reducer, product
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import Tensor

FloatArray = npt.NDArray[np.float64]
PEAK_RANK = 4
OLDEST_OPSET = 7
"""Before it, operators broadcast by attributes."""


@dataclass(frozen=True, eq=False)
class Target:
    """A value to count.

    Attributes:
        key: names the target.
        value: name of z in the main graph.
        knots: increasing; each float64 () or (channels,).
        axis: z's channel axis; None to take all elements for one channel.
        channels: size of that axis, else 1.
        result: name of y = activation(z), for sums of both; "" when not known.
        is_relu: whether y is max(z, 0), so that sums of both need z alone.
    """

    key: str
    value: str
    knots: tuple[FloatArray, ...]
    axis: int | None = None
    channels: int = 1
    result: str = ""
    is_relu: bool = False


@dataclass(frozen=True)
class What:
    """What a probe returns; keys of targets.

    Attributes:
        careful: those with NaN or very many elements, counted in int64.
        ends: those of which minimum and maximum do.
        peaks: those of which the maximum of y does, if their z is of `has_peaks`; it keeps Conv and Relu one operator.
        lines: those whose sums for a least-squares line are wanted.
        rows: names of values whose samples (axis 0) are counted apart; see `samples.values_with_samples`.
        bytewise: whether the provider has the operators on bytes that count fastest.
    """

    careful: Collection[str] = ()
    ends: Collection[str] = ()
    peaks: Collection[str] = ()
    lines: Collection[str] = ()
    rows: Collection[str] = ()
    bytewise: bool = True


@dataclass(frozen=True, eq=False)
class Taps:
    """Names of the outputs that belong to one target.

    Counts, minima, maxima and sums have shape (channels,), or (samples, channels) when `rows`; without a
    channel axis the last dimension is missing.

    Attributes:
        target: what is counted.
        rows: each sample is counted apart.
        careful: counts are int64 and `valid` exists; otherwise they are int32, or floats, exact below 2^24.
        shape: int64 (rank,), z's shape in this run ("" where `sizes` tells).
        low, high, total: minimum, maximum and sum of z; the sum is NaN when some z is.
        above, below: per knot, elements greater and less than it; () where only the ends are wanted.
        valid: elements that are not NaN ("" unless `careful`).
        lines: sums of z, z², y, y² and zy; () unless wanted.
        peak: maximum of y for each sample and channel ("" unless wanted; then there is nothing else but the shape).
        sizes: of z's axes but the first, where `shape` is not returned.
    """

    target: Target
    rows: bool
    careful: bool
    shape: str
    low: str = ""
    high: str = ""
    total: str = ""
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    valid: str = ""
    lines: tuple[str, ...] = ()
    peak: str = ""
    sizes: tuple[int, ...] = ()

    @property
    def is_ends(self) -> bool:
        """Whether there are knots but no counts."""
        return bool(self.target.knots) and not self.above and not self.peak

    @property
    def names(self) -> tuple[str, ...]:
        """All outputs to fetch."""
        counts = (self.valid, *self.lines, *self.above, *self.below)
        names = (self.shape, self.peak, self.low, self.high, self.total, *counts)
        return tuple(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True, eq=False)
class Probe:
    """A model with the inputs of the original and counts as its only outputs, and their names for each target."""

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


def has_peaks(view: GraphView, target: Target) -> bool:
    """Whether GlobalMaxPool takes the target's y and is fast: float images, channels on axis 1."""
    tensor = view.tensors[target.value]
    return target.axis == 1 and tensor.rank == PEAK_RANK and tensor.dtype == "float" and bool(target.result)


def build_probe(model: ir.Model, view: GraphView, targets: Sequence[Target], what: What = What()) -> Probe:
    """A copy of `model` that returns counts.

    onnxruntime walks back from the last operators without a consumer first. So the operators that count stand at the
    end in reverse, and each value is counted, and its memory free again, before the next layer runs.

    Args:
        model: not changed.
        view: of the same model.
        targets: at least one, all countable (`why_not_countable`), in the order in which they run.
        what: to return.

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
    taps = [_tap(editor, target, view.tensors[target.value], what) for target in reversed(targets)]
    return Probe(editor.finish(), tuple(reversed(taps)))


def _tap(editor: Editor, target: Target, tensor: Tensor, what: What) -> Taps:
    rank = tensor.rank
    axis = target.axis if target.axis is None or rank is None else target.axis % rank
    rows = target.value in what.rows and bool(rank) and axis != 0
    careful = target.key in what.careful
    shape, is_flat = tensor.shape, rank is not None and rank >= PEAK_RANK and axis == 1 and not careful
    if is_flat and shape is not None:
        shape = (*shape[:2], product(shape[2:]))
    reducer = Reducer(editor, shape, axis, rows, careful, what.bytewise, target.key)
    if target.key in what.peaks:
        return _peak(reducer, replace(target, axis=axis), tensor, rows)
    z, dtype = comparable(editor, editor.value(target.value), tensor.dtype)
    z = _flat(editor, z, target.key) if is_flat else z
    taps = Taps(
        target=replace(target, axis=axis),
        rows=rows,
        careful=careful,
        shape=reducer.output(editor.node("Shape", [editor.value(target.value)], hint=target.key), INT64),
        low=reducer.reduce("ReduceMin", z, z.dtype),
        high=reducer.reduce("ReduceMax", z, z.dtype),
        total=reducer.total(z),
    )
    if careful:
        taps = replace(taps, valid=reducer.count(is_number(editor, z, dtype, target.key)))
    if target.key in what.lines:
        taps = replace(taps, lines=(taps.total, *_products(reducer, target, z, tensor.dtype, is_flat)))
    if target.key in what.ends:
        return taps
    trailing = 0 if axis is None or shape is None else len(shape) - axis - 1
    bounds = [bounds_of_knot(knot, trailing, dtype) for knot in target.knots]
    return replace(
        taps,
        above=tuple(reducer.count(_compared(editor, "Greater", z, floor, dtype)) for floor, _ in bounds),
        below=tuple(reducer.count(_compared(editor, "Less", z, ceiling, dtype)) for _, ceiling in bounds),
    )


def _peak(reducer: Reducer, target: Target, tensor: Tensor, rows: bool) -> Taps:
    """Asking for the shape would have the tensor laid out anew, so it is asked for only where it is not known."""
    y = reducer.editor.value(target.result)
    peak = reducer.output(reducer.editor.node("GlobalMaxPool", [y], hint=target.key), FLOAT)
    sizes = tuple(size for size in (tensor.shape or ())[1:] if isinstance(size, int))
    if len(sizes) == PEAK_RANK - 1:
        return Taps(target, rows, False, "", peak=peak, sizes=sizes)
    shape = reducer.output(reducer.editor.node("Shape", [y], hint=target.key), INT64)
    return Taps(target, rows, False, shape, peak=peak)


def _compared(editor: Editor, op_type: str, z: ir.Value, bound: FloatArray, dtype: str) -> ir.Value:
    return editor.node(op_type, [z, editor.constant("knot", bound, dtype)], hint=z.name or "z")


def _products(reducer: Reducer, target: Target, z: ir.Value, dtype: str, is_flat: bool) -> tuple[str, ...]:
    """Sums of z², y, y² and zy; for a Relu from z alone, and zy is y²."""
    editor = reducer.editor

    def of(left: ir.Value, right: ir.Value) -> str:
        return reducer.total(editor.node("Mul", [left, right], hint=target.key))

    if target.is_relu:
        y = editor.node("Relu", [z], hint=target.key)
        squares = of(y, y)
        return of(z, z), reducer.total(y), squares, squares
    y, _ = comparable(editor, editor.value(target.result), dtype)
    y = _flat(editor, y, target.key) if is_flat else y
    return of(z, z), reducer.total(y), of(y, y), of(z, y)


def _flat(editor: Editor, value: ir.Value, hint: str) -> ir.Value:
    """(N, C, …) as (N, C, T).

    onnxruntime would compute products of images in blocks of channels and lay each out anew, not `value` once.
    """
    return editor.node("Reshape", [value, editor.constant("flat", np.array([0, 0, -1]), "int64")], hint=hint)
