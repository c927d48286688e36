"""Random graphs of the operators that are read, and of rectifiers and others between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx

from tests.helpers.build import NUMPY, TYPES, Array, Builder, Home

T = TypeVar("T")
Shape = tuple[int, ...]
OLDEST_OPSET, NEWEST_OPSET = 7, 26
"""Of the default domain: the first with today's broadcasting, and the last that onnxruntime 1.31 runs."""
LARGEST_VALUE = 3000
RANGES = ((0.0, 1.0), (-1.0, 0.0), (-2.0, 2.0))
SYMBOLS = ("N", "A", "B", "C", "D")


@dataclass(frozen=True)
class Value:
    """A value and its sizes in the run that the graph was drawn for."""

    name: str
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)


class Draw:
    """Choices from a generator that hypothesis can shrink towards the first option."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def integer(self, low: int, high: int) -> int:
        return self._source.randint(low, high)

    def choice(self, options: Sequence[T]) -> T:
        return options[self._source.randint(0, len(options) - 1)]

    def chance(self, one_in: int) -> bool:
        return self._source.randint(1, one_in) == one_in

    def integers(self, count: int, low: int, high: int) -> list[int]:
        return [self.integer(low, high) for _ in range(count)]


@dataclass
class RandomGraph:
    """A graph under construction."""

    draw: Draw
    builder: Builder
    values: list[Value] = field(default_factory=list)
    constants: list[tuple[str, Shape]] = field(default_factory=list)

    @property
    def opset(self) -> int:
        return self.builder.opset

    def operator(self, op_type: str, inputs: Sequence[str], shape: Sequence[int], **attributes: Any) -> Value:
        """Append an operator with one output of this shape."""
        return self.value(self.builder.node(op_type, *inputs, **attributes), shape)

    def value(self, name: str, shape: Sequence[int]) -> Value:
        made = Value(name, tuple(int(size) for size in shape))
        self.values.append(made)
        return made

    def latest(self) -> Value:
        """Mostly the last value, so that chains grow long."""
        return self.values[-1] if self.draw.integer(0, 2) else self.draw.choice(self.values)

    def other(self, shape: Shape) -> Value | None:
        """Any value of this shape."""
        same = [value for value in self.values if value.shape == shape]
        return self.draw.choice(same) if same else None

    def weight(self, array: Array) -> str:
        """A constant, in any of the places that one may be; now and then an earlier one of the same shape."""
        shared = [name for name, shape in self.constants if shape == array.shape]
        if shared and self.draw.chance(6):
            return self.draw.choice(shared)
        homes: tuple[Home, ...] = ("initializer",) * 6 + ("node", "node")
        if self.builder.ir_version >= 4:
            homes += ("input",)
        name = self.builder.constant(array.astype(NUMPY[self.builder.dtype]), home=self.draw.choice(homes))
        if self.draw.chance(12):
            name = self.builder.node(self.draw.choice(("Identity", "Neg", "Abs")), name)
        self.constants.append((name, array.shape))
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A constant of int64; Constant holds floats only before opset 9."""
        homes: tuple[Home, ...] = ("initializer", "node" if self.opset >= 9 else "initializer")
        return self.builder.constant(np.asarray(values, np.int64), home=self.draw.choice(homes))

    def number(self, value: float) -> str:
        """A scalar constant."""
        return self.builder.constant(float(value))

    def normal(self, *shape: int) -> Array:
        """Weights (out, in, …): plain, of one sign per output, summing to zero, or zero for some outputs or inputs."""
        array = self.builder.random(*shape)
        outputs = (shape[0], *(1,) * (len(shape) - 1)) if shape else ()
        match self.draw.integer(0, 9):
            case 0:
                return np.asarray(np.abs(array) * self.builder.rng.choice([-1.0, 1.0], outputs), array.dtype)
            case 1:
                return array * self.builder.rng.choice([0.0, 1.0], outputs).astype(array.dtype)
            case 2 if len(shape) > 1:
                return array - array.mean(axis=tuple(range(1, len(shape))), keepdims=True)
            case 3 if len(shape) > 1:
                inputs = (1, shape[1], *(1,) * (len(shape) - 2))
                return array * self.builder.rng.choice([0.0, 1.0], inputs).astype(array.dtype)
            case 4:
                return np.full(shape, array.reshape(-1)[0], array.dtype)
        return array


def _fits(shape: Sequence[int]) -> bool:
    return all(size >= 1 for size in shape) and prod(shape) <= LARGEST_VALUE


def window(
    g: RandomGraph, sizes: Shape, kernel: Sequence[int], *, dilated: bool, shy: bool = False
) -> tuple[dict[str, Any], Shape]:
    """Attributes of a sliding window and the sizes it gives; `shy` pads stay below the kernel."""
    spatial = len(sizes)
    attributes: dict[str, Any] = {}
    strides = g.draw.integers(spatial, 1, 2) if g.draw.chance(4) else [1] * spatial
    if max(strides) > 1 or g.draw.chance(2):
        attributes["strides"] = strides
    mode = g.draw.choice(("NOTSET",) * 6 + ("VALID", "SAME_UPPER", "SAME_LOWER"))
    if mode != "NOTSET":
        attributes["auto_pad"] = mode
    if mode.startswith("SAME"):
        return attributes, tuple(-(-n // s) for n, s in zip(sizes, strides, strict=True))
    dilations = g.draw.integers(spatial, 1, 2) if dilated and g.draw.chance(5) else [1] * spatial
    if max(dilations) > 1:
        attributes["dilations"] = dilations
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [0] * (2 * spatial)
    if mode == "NOTSET":
        pads = _pads(g, reach, shy)
        attributes["pads"] = pads
    padded = [n + pads[i] + pads[spatial + i] for i, n in enumerate(sizes)]
    return attributes, tuple((n - r) // s + 1 for n, r, s in zip(padded, reach, strides, strict=True))


def _pads(g: RandomGraph, reach: list[int], shy: bool) -> list[int]:
    match g.draw.integer(0, 3):
        case 0:
            return [0] * (2 * len(reach))
        case 1 | 2:
            return [(r - 1) // 2 for r in reach] * 2
    return [g.draw.integer(0, max(0, r - 1) if shy else 2) for r in reach * 2]


def drawn_graph(source: random.Random, operators: Mapping[str, Callable[[RandomGraph], object]]) -> RandomGraph:
    """A graph with one or two inputs and three to fifteen operators; its outputs are not chosen yet."""
    draw = Draw(source)
    dtype = draw.choice(("float",) * 6 + ("double",) * 2 + ("float16",))
    opset = draw.choice((17, draw.integer(OLDEST_OPSET, NEWEST_OPSET)))
    ir_version = draw.choice((9, 9, 9, 3, 4))
    rng = np.random.default_rng(draw.integer(0, 2**20))
    g = RandomGraph(draw, Builder(rng, dtype=dtype, opset=opset, ir_version=ir_version))
    for name in ("x", "z")[: 2 if draw.chance(6) else 1]:
        g.value(name, _input_shape(draw))
    names = tuple(operators)
    for _ in range(draw.integer(2, 12)):
        operators[draw.choice(names)](g)
    return g


def _input_shape(draw: Draw) -> Shape:
    batch, channels = draw.integer(1, 2), draw.integer(1, 4)
    match draw.integer(0, 6):
        case 0:
            return batch, channels
        case 1:
            return batch, draw.integer(3, 8), channels
        case 2:
            return (batch, channels, *draw.integers(3, 2, 4))
    return (batch, channels, *draw.integers(2, 3, 7))


@dataclass(frozen=True)
class Sample:
    """A model, what to feed, and how to collapse it.

    Attributes:
        feeds: one per run; the first has the sizes that the graph was drawn for.
        ranges: of inputs that are declared to be bounded.
        variant: what is chosen: all that is exact, whatever random prices make cheapest, or some regions only.
        seed: for those choices.
    """

    model: onnx.ModelProto
    feeds: tuple[dict[str, Array], ...]
    ranges: Mapping[str, tuple[float, float]]
    variant: str
    seed: int


def finished(g: RandomGraph) -> Sample:
    """Choose outputs and which sizes stay open; feeds for the drawn sizes and, if any is open, for others."""
    draw = g.draw
    inputs = [value for value in g.values if value.name in ("x", "z")]
    made = [value for value in g.values if value not in inputs]
    outputs = [g.values[-1]] if made else [g.operator("Sigmoid", [inputs[0].name], inputs[0].shape)]
    for value in made:
        if draw.chance(10) and value not in outputs:
            outputs.append(value)
    if draw.chance(30):
        outputs.append(inputs[0])
    openness = draw.choice(("none", "batch", "all"))
    dims: dict[str, list[int | str]] = {}
    for value in inputs:
        count = {"none": 0, "batch": 1, "all": value.rank}[openness]
        dims[value.name] = [
            f"{value.name}_{SYMBOLS[axis]}" if axis < count and axis != 1 else size
            for axis, size in enumerate(value.shape)
        ]
    model = g.builder.model(dims, [value.name for value in outputs])
    grown = {value.name: _grown(draw, value.shape, dims[value.name]) for value in inputs}
    runs = [{value.name: value.shape for value in inputs}] + ([grown] if openness != "none" else [])
    ranges = {value.name: draw.choice(RANGES) for value in inputs if draw.chance(4)}
    feeds = tuple(_fed(g, shapes, ranges) for shapes in runs)
    variant = draw.choice(("all", "all", "prices", "some"))
    return Sample(model, feeds, ranges, variant, draw.integer(0, 2**20))


def _grown(draw: Draw, shape: Shape, dims: list[int | str]) -> Shape:
    return tuple(
        size + draw.integer(0, 2) if isinstance(dim, str) else size for size, dim in zip(shape, dims, strict=True)
    )


def _fed(g: RandomGraph, shapes: Mapping[str, Shape], ranges: Mapping[str, tuple[float, float]]) -> dict[str, Array]:
    """Numbers for the inputs, and now and then for weights that may be fed."""
    rng, kind = g.builder.rng, NUMPY[g.builder.dtype]
    feeds: dict[str, Array] = {name: rng.standard_normal(shape).astype(kind) for name, shape in shapes.items()}
    for name, (low, high) in ranges.items():
        feeds[name] = rng.uniform(low, high, shapes[name]).astype(kind)
    if g.builder.ir_version >= 4:
        for info in g.builder.weight_inputs:
            if info.type.tensor_type.elem_type == TYPES[g.builder.dtype] and g.draw.chance(2):
                shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
                feeds[info.name] = rng.uniform(0.5, 2.0, shape).astype(kind)
    return feeds
