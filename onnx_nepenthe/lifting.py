"""A line behind a sum, taken into what is summed: a·(f(x) + g(z)) + c is f'(x) + g'(z), one operator less.

A shift moves into any one summand that an operator of its own makes. A slope other than 1 takes all of them, as a
summand that stays what it is would need a product of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, product

import numpy as np

from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.maps import FloatArray, PerChannel, identity
from onnx_nepenthe.cheapest import Option, Part
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.ops.base import Chain, Reading, Total
from onnx_nepenthe.opview import Shape
from onnx_nepenthe.regions import Affine, Atlas

MOST_SUMMANDS = 8
"""Of one sum; what would be more is left as a summand."""
MOST_INSIDE = 32
"""Sums and lines on the way."""
MOST_WAYS = 8
"""Of scaling all summands of one sum."""
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that are neither lines nor sums; they are not read, as that takes time."""


@dataclass(frozen=True, eq=False)
class Summand:
    """One value of a sum.

    Attributes:
        name: the value.
        factor: by what it is multiplied; without an offset.
    """

    name: str
    factor: PerChannel

    @property
    def is_plain(self) -> bool:
        """Whether it is added as it is."""
        return bool((self.factor.scale == 1).all())


@dataclass(frozen=True, eq=False)
class LinedSum:
    """A line behind a sum.

    Attributes:
        value: what the line gives: the summands times their factors, and `offset`.
        summands: two at least.
        offset: with a scale of 1.
        inside: the sums and lines on the way, which nobody else reads.
        total: the last sum among them.
    """

    value: str
    summands: tuple[Summand, ...]
    offset: PerChannel
    inside: frozenset[str]
    total: str


@dataclass
class _Sums:
    """What a graph has of lines and sums, each operator read once.

    Attributes:
        atlas: of the graph.
        lines: value → the line that its operator is, where it is one behind a sum.
        totals: value → the signs of its sum.
        behind: value → the sum that it is, or a line of; nobody else reads what is between.
    """

    atlas: Atlas
    lines: dict[str, PerChannel] = field(default_factory=dict)
    totals: dict[str, tuple[float, ...]] = field(default_factory=dict)
    behind: dict[str, str] = field(default_factory=dict)

    def enter(self, value: Affine) -> None:
        """Read one operator; those before it have been read."""
        if value.op.op_type in _WEIGHTED:
            return
        before = self.behind.get(value.operands[0])
        reading = value.reading
        if isinstance(reading, Total):
            self.totals[value.name] = reading.signs
            self.behind[value.name] = value.name
        elif before is not None and is_alone(self.atlas.view, value.operands[0]):
            line = _line(reading)
            if line is not None:
                self.lines[value.name] = line
                self.behind[value.name] = before

    def parts(self, name: str, line: PerChannel) -> list[tuple[str, PerChannel]] | None:
        """What a line of a value is made of; None where the value is a summand."""
        if name in self.lines:
            joined = compose(line, self.lines[name])
            return [(self.atlas.affine[name].operands[0], joined)] if isinstance(joined, PerChannel) else None
        if name not in self.totals:
            return None
        signs, zeros = self.totals[name], np.zeros_like(line.offset)
        offsets = (line.offset, *(zeros for _ in signs[1:]))
        signed = (replace(line, scale=line.scale * s, offset=o) for s, o in zip(signs, offsets, strict=True))
        return list(zip(self.atlas.affine[name].operands, signed, strict=True))


def lined_sums(atlas: Atlas) -> dict[str, LinedSum]:
    """By value, in topological order."""
    sums, found = _Sums(atlas), {}
    for value in atlas.affine.values():
        sums.enter(value)
        lined = _lined_sum(sums, value.name) if value.name in sums.lines else None
        if lined is not None:
            found[value.name] = lined
    return found


def _lined_sum(sums: _Sums, value: str) -> LinedSum | None:
    waiting: list[tuple[str, PerChannel]] = [(value, identity())]
    leaves: list[tuple[str, PerChannel]] = []
    inside: set[str] = set()
    while waiting:
        name, line = waiting.pop(0)
        is_room = len(waiting) + len(leaves) < MOST_SUMMANDS and len(inside) < MOST_INSIDE
        is_open = name == value or (is_room and name in sums.behind and is_alone(sums.atlas.view, name))
        parts = sums.parts(name, line) if is_open else None
        if parts is None:
            leaves.append((name, line))
            continue
        inside.add(name)
        waiting = [*parts, *waiting]
    offset = _offset([line for _, line in leaves])
    summands = tuple(Summand(name, replace(line, offset=np.zeros_like(line.offset))) for name, line in leaves)
    if offset is None or len(leaves) < 2 or not (offset.offset.any() or any(not one.is_plain for one in summands)):
        return None
    return LinedSum(value, summands, offset, frozenset(inside - {value}), sums.behind[value])


def _line(reading: Reading) -> PerChannel | None:
    """The line that an operator is."""
    joined = identity()
    for step in reading.steps if isinstance(reading, Chain) else (None,):
        found = compose(step, joined) if isinstance(step, PerChannel) else None
        if not isinstance(found, PerChannel):
            return None
        joined = found
    return joined


def _offset(lines: list[PerChannel]) -> PerChannel | None:
    """The sum of the offsets, as a shift; None where they belong to different axes."""
    axes = {line.axis for line in lines if line.axis is not None}
    if len(axes) > 1:
        return None
    numbers: FloatArray = np.zeros(1)
    for line in lines:
        numbers = numbers + line.offset
    return PerChannel(next(iter(axes), None), np.ones_like(numbers), numbers)


def lifts(
    atlas: Atlas, lined: LinedSum, options: Mapping[str, tuple[Option, ...]], price_of_sum: float
) -> Iterator[Option]:
    """The ways to compute the value by summands that have taken the line in; prices are those without it.

    Args:
        atlas: of the graph.
        lined: the line and the sum.
        options: of the values before it.
        price_of_sum: of adding two of the summands.
    """
    taking = {one.name: _ways(atlas, lined, one, options) for one in lined.summands}
    scaled = [one.name for one in lined.summands if not one.is_plain]
    chosen: Iterator[dict[str, Option]] = ({name: way} for name, ways in taking.items() for way in ways)
    if scaled:
        ends = [ways if len(ways) < 3 else [ways[0], ways[-1]] for ways in map(taking.__getitem__, scaled)]
        chosen = (dict(zip(scaled, ways, strict=True)) for ways in islice(product(*ends), MOST_WAYS))
    for ways in chosen:
        names = sorted((one.name for one in lined.summands), key=lambda name: name not in ways)
        parts = tuple(_part(atlas, name, ways[name]) if name in ways else Part(name, name) for name in names)
        price = sum(way.price for way in ways.values()) + price_of_sum * (len(parts) - 1)
        needs = tuple(dict.fromkeys(part.source for part in parts))
        yield Option(price, needs, parts[0].source, is_bound=True, parts=parts)


def _ways(atlas: Atlas, lined: LinedSum, one: Summand, options: Mapping[str, tuple[Option, ...]]) -> list[Option]:
    """How the summand is computed, if it may take a line: nobody else reads it, and it has all of the channels."""
    shape = atlas.view.tensors[one.name].shape
    if one.name not in options or not is_alone(atlas.view, one.name) or shape is None:
        return []
    if not all(_fits(line, shape) for line in (one.factor, lined.offset)):
        return []
    is_direct = len(set(atlas.affine[one.name].operands)) == 1
    return [way for way in options[one.name] if not way.parts and (way.source is not None or is_direct)]


def _part(atlas: Atlas, name: str, way: Option) -> Part:
    source = atlas.affine[name].operands[0] if way.source is None else way.source
    return Part(name, source, None if way.is_bound else way.price)


def _fits(line: PerChannel, shape: Shape) -> bool:
    return line.axis is None or (line.axis < len(shape) and shape[line.axis] == line.scale.size)


def taken_in(lined: LinedSum, summand: str, *, with_offset: bool) -> PerChannel:
    """The line that a summand takes in; one of them takes the offset too."""
    factor = next(one.factor for one in lined.summands if one.name == summand)
    if not with_offset:
        return factor
    line = compose(lined.offset, factor)
    if not isinstance(line, PerChannel):
        raise AssertionError("two lines along one axis are one")
    return line


def inside_of(sums: Mapping[str, LinedSum]) -> frozenset[str]:
    """The sums and lines that need not be computed."""
    return frozenset().union(*(lined.inside for lined in sums.values()))


def is_alone(view: GraphView, name: str) -> bool:
    """Whether a single operator reads the value, once."""
    return len(view.consumers.get(name, ())) == 1 and not view.is_pinned(name)
