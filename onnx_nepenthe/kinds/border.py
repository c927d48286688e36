"""Two padded convolutions in a row as one: exact but for a ring at the border, whose price is measured.

The padding of the second is put in front of the first, so that at the border the second reads what the first makes of
zeros instead of zeros (ALGORITHMS.md §9 has the sizes). Nothing is fitted. It takes more taps (3x3 twice are 5x5), so
it is offered where it saves multiply-adds all the same: the second convolution has a stride, there are more channels
between the two than around them, or both are depthwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.cost import form_cost
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import AffineMap, Conv, PerChannel, evaluate
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.charting import chart
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.fit import Array, Fitter, Fitting
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds.base import KINDS, Kind, Offer, Seen
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.plan import Choice
from onnx_nepenthe.regions import Affine, Atlas
from onnx_nepenthe.spans import between, conv_macs, is_closed

NAME = "border"
WORTH = 0.9
"""More multiply-adds than this share of the two convolutions' are not tried: 5x5 for two 3x3 is 0.6 times as fast."""
SAMPLES = 4
"""Samples of a batch that the ring is measured on."""


@dataclass
class RingFitter:
    """Measures how far the composed convolution is from the two; there is nothing to fit.

    Attributes:
        core: the convolution.
    """

    core: Conv
    _error: float = 0.0
    _spread: float = 0.0

    def add(self, x: Array, y: Array) -> None:
        """Take one batch, of which the first samples serve."""
        wanted = y[:SAMPLES].astype(np.float64)
        self._error += float(np.square(evaluate(self.core, x[:SAMPLES].astype(np.float64)) - wanted).sum())
        axes = (0, *range(2, wanted.ndim))
        self._spread += float(np.square(wanted - wanted.mean(axis=axes, keepdims=True)).sum())

    def solve(self) -> Fitting:
        """The convolution as it is."""
        return Fitting(self.core, self._error / max(self._spread, 1e-30))


def offers(seen: Seen) -> Iterator[Offer]:
    """Pairs of convolutions that only their borders keep apart."""
    atlas = chart(seen.view, seen.lines)
    for value in atlas.affine.values():
        found = _run(atlas, value)
        if found is None:
            continue
        source, first, second = found
        core = without_border(second, first)
        ops = between(seen.view, source, value.name)
        if core is None or ops is None or not is_closed(seen.view, ops, value.name):
            continue
        form = form_of(seen.view, source, value.name, core)
        if form_cost(form, seen.dims).macs < WORTH * conv_macs(seen.view, ops, seen.dims):
            inside = frozenset(key for key in ops if key in seen.lines)
            key = (*core.kernel, core.groups)
            yield Offer(NAME, source, (source,), value.name, 1, frozenset(ops), inside, key, core)


def _run(atlas: Atlas, last: Affine) -> tuple[str, AffineMap, Conv] | None:
    """(source, first convolution and the lines behind it, second convolution) that do not compose exactly."""
    second = _step(last)
    if not isinstance(second, Conv) or not second.is_padded:
        return None
    lines: AffineMap | None = None
    name = last.operands[0]
    while (value := atlas.affine.get(name)) is not None and len(value.operands) == 1:
        step = _step(value)
        if isinstance(step, Conv):
            first = step if lines is None else compose(lines, step)
            is_apart = not isinstance(first, Refused) and isinstance(compose(second, first), Refused)
            return (value.operands[0], first, second) if is_apart else None  # type: ignore[return-value]
        if not isinstance(step, PerChannel):
            return None
        joined = step if lines is None else compose(lines, step)
        if isinstance(joined, Refused):
            return None
        lines, name = joined, value.operands[0]
    return None


def _step(value: Affine) -> AffineMap | None:
    """What an operator is, where it is one map."""
    match value.reading:
        case Chain(steps=(PerChannel() | Conv() as step,)):
            return step
    return None


def without_border(second: Conv, first: AffineMap) -> Conv | None:
    """The composition with all padding in front; None where there is none.

    >>> ones, pads = np.ones((1, 1, 3, 3)), (1, 1)
    >>> one = Conv(ones, np.zeros(1), (1, 1), (1, 1), pads, pads)
    >>> both = without_border(one, one)
    >>> both.kernel, both.pads_begin, isinstance(compose(one, one), Refused)
    ((5, 5), (2, 2), True)
    """
    if not isinstance(first, Conv) or first.border is not None:
        return None
    begin, end = (
        tuple(p + s * q for p, s, q in zip(own, first.strides, behind, strict=True))
        for own, behind in ((first.pads_begin, second.pads_begin), (first.pads_end, second.pads_end))
    )
    zeros = (0,) * second.spatial
    core = compose(replace(second, pads_begin=zeros, pads_end=zeros), replace(first, pads_begin=begin, pads_end=end))
    return core if isinstance(core, Conv) else None


def form_of(view: GraphView, source: str, target: str, core: Conv) -> Form:
    """The core between two values of a graph."""
    end = view.tensors[target].shape or ()
    return Form(view.tensors[source].shape or (), core, end, straight(len(end)))


def fitter(offer: Offer, rng: np.random.Generator) -> Fitter:
    """The measurement."""
    return RingFitter(offer.detail)


def choices(offer: Offer, view: GraphView, fitting: Fitting) -> tuple[Choice, ...]:
    """One convolution."""
    form = form_of(view, offer.entry, offer.target, offer.detail)
    return (Choice(offer.target, offer.entry, form, tuple(sorted(offer.ops))),)


KINDS.register(NAME)(Kind(offers, fitter, choices))
