"""Where one fitted operator could stand for a part of the network that is not linear.

A substitute computes a value from another that every path to it passes through (a dominator), so
that what lies between falls away. Every rectifier by itself is the smallest such part; residual
branches, blocks and runs of blocks are larger ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.fit import Array
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds import KINDS, Offer, Seen, rarely_on
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.refitting import Site
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.slimming import Slim, slims
from onnx_nepenthe.spans import between, conv_macs, dominators, is_closed

REACH = 24
"""How many dominators back a substitute may begin."""
MOST_RECTIFIERS = 4
LARGEST_SYSTEM = 4700
"""Unknowns per output of the largest regression (512 channels, 3x3)."""
WIDE = 5
"""Taps of a convolution that is tried only where it saves multiply-adds: for parts with a stride inside, say."""
WORTH = 0.9
"""The most of the part's multiply-adds that it may take."""
FLOATS = frozenset({"float", "float16", "double"})


@dataclass(frozen=True)
class Substitute:
    """A possible fit.

    Attributes:
        source, target: values; `target` is computed from `source`.
        kind: what is fitted: a "line" per channel for one rectifier, the same past a larger part ("scale"), nothing
            (the "identity"), a 1x1, 3x3, 5x5 or depthwise convolution, a matrix on the last axis, "slim" (the second of
            two convolutions, on fewer channels between them), "refit" (an operator that stays), or one of
            `kinds.KINDS`.
        ops: keys of the operators that fall away.
        rectifiers: keys of the rectifiers among them.
        strides: of a convolution.
        axis: of a line's channels or of a matrix.
        slim: the pair of convolutions between which channels go; None for other kinds.
        offer: what a kind of `kinds.KINDS` knows; None for those made of one operator.
        site: the operator that stays and is fitted anew ("refit"); None for other kinds.
    """

    source: str
    target: str
    kind: str
    ops: frozenset[str]
    rectifiers: frozenset[str]
    strides: tuple[int, ...] = ()
    axis: int = 1
    slim: Slim | None = None
    offer: Offer | None = None
    site: Site | None = None

    @property
    def entry(self) -> str:
        """Where the part begins: the source of the fit, or what a slim pair reads."""
        if self.offer is not None:
            return self.offer.entry
        return self.source if self.slim is None else self.slim.entry

    @property
    def reads(self) -> tuple[str, ...]:
        """Values that a fit takes; the source, and what a kind of several operators reads besides."""
        if self.site is not None and not self.site.is_whole:
            return (self.site.value,)
        return (self.source,) if self.offer is None else self.offer.reads

    def joined(self, values: Mapping[str, Array]) -> Array:
        """What a fit takes of `values`, which has all of `reads`."""
        arrays = [values[name] for name in self.reads]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=self.axis)

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.source} → {self.target} ({self.kind})"

    def overlaps(self, other: Substitute) -> bool:
        """Whether the two cannot both be made."""
        return bool(self.ops & other.ops)


def substitutes(
    view: GraphView,
    rectifiers: tuple[Rectifier, ...],
    dims: Mapping[str, int],
    counts: Mapping[str, RegimeCounts] | None = None,
    lines: Mapping[str, Decision] | None = None,
) -> tuple[Substitute, ...]:
    """All that fit together in shape, in graph order.

    Args:
        view: the graph.
        rectifiers: those that are not linear already.
        dims: sizes of symbolic axes, to tell strides.
        counts: rectifier → its regimes on the data, where they were measured.
        lines: rectifier → its lines, for those that are linear already.
    """
    parents = dominators(view)
    curved = {rectifier.key: rectifier for rectifier in rectifiers}
    found: list[Substitute] = [_line(view, rectifier) for rectifier in rectifiers if rectifier.channels is not None]
    for target in _ends(view, rectifiers):
        seen_rectifiers: set[str] = set()
        for source in _dominators_of(target, parents):
            ops = between(view, source, target)
            if ops is None:
                break
            inside = frozenset(ops) & frozenset(curved)
            if len(inside) > MOST_RECTIFIERS:
                break
            if not inside - seen_rectifiers or _feeds_rectifier(view, source, curved):
                continue
            if not is_closed(view, ops, target):
                continue
            shapes = list(_shapes(view, source, target, frozenset(ops), inside, dims))
            seen_rectifiers |= inside if shapes else set()
            found.extend(shapes)
    seen = Seen(view, rectifiers, dims, counts or {}, lines or {})
    asleep = {rectifier.key: rarely_on(seen, rectifier) for rectifier in rectifiers}
    found += [
        Substitute(one.hidden, one.target, "slim", ops, frozenset(), slim=one)
        for one, ops in slims(view, rectifiers, asleep)
    ]
    found += [_offered(offer) for name in KINDS for offer in KINDS[name].offers(seen)]
    return tuple(found)


def refit_of(site: Site) -> Substitute:
    """The operator that stays, fitted anew."""
    return Substitute(site.source, site.value, "refit", site.ops, frozenset(), site=site)


def _offered(one: Offer) -> Substitute:
    return Substitute(one.reads[0], one.target, one.kind, one.ops, one.rectifiers, (), one.axis, offer=one)


def _ends(view: GraphView, rectifiers: tuple[Rectifier, ...]) -> list[str]:
    """Pre-activations, and what feeds an output: where substitutes may end."""
    ends = [rectifier.operand for rectifier in rectifiers] + list(view.outputs)
    sums = [op.outputs[0] for op in view.ops if op.op_type in ("Add", "Sum")]
    pooled = [t.name for op in view.ops if op.op_type.endswith("Pool") for t in op.inputs[:1] if t is not None]
    return list(dict.fromkeys([*ends, *sums, *pooled]))


def _feeds_rectifier(view: GraphView, name: str, curved: Mapping[str, Rectifier]) -> bool:
    """Whether the value is a pre-activation and nothing else: a part begins behind the rectifier instead."""
    users = view.consumers.get(name, ())
    return len(users) == 1 and view.ops[users[0]].key in curved


def _line(view: GraphView, rectifier: Rectifier) -> Substitute:
    ops = between(view, rectifier.operand, rectifier.output) or {rectifier.key}
    key = frozenset({rectifier.key})
    return Substitute(rectifier.operand, rectifier.output, "line", frozenset(ops), key, (), rectifier.axis or 0)


def _dominators_of(name: str, parents: Mapping[str, str]) -> Iterator[str]:
    for _ in range(REACH):
        parent = parents.get(name)
        if parent is None:
            return
        yield parent
        name = parent


def _shapes(
    view: GraphView, source: str, target: str, ops: frozenset[str], inside: frozenset[str], dims: Mapping[str, int]
) -> Iterator[Substitute]:
    x, y = view.tensors[source], view.tensors[target]
    if x.shape is None or y.shape is None or x.dtype != y.dtype or x.dtype not in FLOATS:
        return
    a, b = concrete(x.shape, dims), concrete(y.shape, dims)
    if len(a) != len(b) or a[0] != b[0] or len(a) < 2:
        return
    if len(a) <= 3 and a[:-1] == b[:-1] and _is_features(view, ops):
        if a == b:
            yield Substitute(source, target, "identity", ops, inside, (), len(a) - 1)
            yield Substitute(source, target, "scale", ops, inside, (), len(a) - 1)
        if a[-1] <= LARGEST_SYSTEM:
            yield Substitute(source, target, "dense", ops, inside, (), len(a) - 1)
        return
    ratios = [-(-n // m) if m else 0 for n, m in zip(a[2:], b[2:], strict=True)]
    if len(a) < 3 or any(r < 1 or r > 4 or -(-n // r) != m for n, m, r in zip(a[2:], b[2:], ratios, strict=True)):
        return
    strides = tuple(ratios)
    if a == b:
        yield Substitute(source, target, "identity", ops, inside)
        yield Substitute(source, target, "scale", ops, inside)
    if a[1] == b[1]:
        yield Substitute(source, target, f"depthwise{_taps(view, ops)}", ops, inside, strides)
    for taps in (1, 3, WIDE):
        unknowns = a[1] * taps ** len(strides)
        is_dear = taps == WIDE and unknowns * prod(b) > WORTH * conv_macs(view, ops, dims)
        if unknowns <= LARGEST_SYSTEM and not is_dear:
            yield Substitute(source, target, f"conv{taps}", ops, inside, strides)


def _taps(view: GraphView, ops: frozenset[str]) -> int:
    """Of a depthwise convolution in place of a part: as many as the widest odd one in it has, 3 at least."""
    kernels = (op.constant(1) for op in map(view.op_of, ops) if op is not None and op.op_type == "Conv")
    found = [size for kernel in kernels if kernel is not None and kernel.shape[1] == 1 for size in kernel.shape[2:]]
    return max([3, *(int(size) for size in found if size in (5, 7))])


def _is_features(view: GraphView, ops: frozenset[str]) -> bool:
    """Whether a part works on features rather than on space: no convolution in it."""
    return not any(op is not None and "Conv" in op.op_type for op in map(view.op_of, ops))
