"""Fewer channels between two convolutions, the second one fitted to do without those that go.

A rectifier stays, but half or a quarter of its channels go, or as many as are nearly always OFF: those that the
regression on all of them misses least (see `elimination`). Their means go into the bias of the second.
Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks (2017); no training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, FloatArray
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.elimination import LARGEST, kept_groups
from onnx_nepenthe.fit import PLAIN, Array, ConvFitter, Fitting, Terms
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.plan import Choice
from onnx_nepenthe.rectifiers import Rectifier

SHARES = (0.5, 0.75)
"""Channels that stay."""
MULTIPLE = 8
"""Kernels like blocks of channels."""
POINTWISE = frozenset(
    {"Relu", "LeakyRelu", "Clip", "Elu", "Selu", "HardSwish", "HardSigmoid", "Gelu", "Mish", "Sigmoid"}
)


@dataclass(frozen=True)
class Slim:
    """A convolution, its rectifier and the convolution that alone reads it.

    Attributes:
        entry, operand, hidden, target: what the first reads and makes, the rectifier's result, what the second makes.
        first, second: keys of the two.
        keep: channels that stay.
    """

    entry: str
    operand: str
    hidden: str
    target: str
    first: str
    second: str
    keep: int


def slims(
    view: GraphView, rectifiers: tuple[Rectifier, ...], asleep: Mapping[str, int] | None = None
) -> Iterator[tuple[Slim, frozenset[str]]]:
    """All there are, with the keys of their operators.

    Args:
        view: the graph.
        rectifiers: those that are not linear already.
        asleep: rectifier → how many of its channels are (nearly) always OFF; so many may go too.
    """
    for rectifier in rectifiers:
        op, first = view.op_of(rectifier.output), view.op_of(rectifier.operand)
        users = view.consumers.get(rectifier.output, ())
        if op is None or first is None or len(users) != 1 or op.op_type not in POINTWISE:
            continue
        second = view.ops[users[0]]
        alone = len(view.consumers.get(rectifier.operand, ())) == 1 and not view.is_pinned(rectifier.operand)
        if not (alone and not view.is_pinned(rectifier.output) and _is_plain(first) and _is_plain(second)):
            continue
        entry, channels = first.inputs[0], len(_weight(first))
        reads = second.inputs[0]
        if entry is None or reads is None or reads.name != rectifier.output or not _pads_same(second):
            continue
        awake = channels - (asleep or {}).get(rectifier.key, 0)
        wanted = {-(-awake // MULTIPLE) * MULTIPLE, *(int(channels * share) // MULTIPLE * MULTIPLE for share in SHARES)}
        for keep in sorted({max(MULTIPLE, count) for count in wanted}):
            if keep < channels:
                names = (entry.name, rectifier.operand, rectifier.output, second.outputs[0])
                yield Slim(*names, first.key, second.key, keep), frozenset({first.key, op.key, second.key})


def _is_plain(op: OpView) -> bool:
    bias = op.input(2)
    known = op.constant(1) is not None and (bias is None or bias.constant is not None)
    return op.op_type == "Conv" and known and op.attributes.get("group", 1) == 1 and _explicit(op)


def _explicit(op: OpView) -> bool:
    return bool(op.attributes.get("auto_pad", "NOTSET") == "NOTSET")


def _pads_same(op: OpView) -> bool:
    kernel = _weight(op).shape[2:]
    pads, ones = list(op.attributes.get("pads", [0] * 2 * len(kernel))), [1] * len(kernel)
    is_dense = list(op.attributes.get("dilations", ones)) == ones
    return is_dense and bool(pads == [k // 2 for k in kernel] * 2) and all(k % 2 for k in kernel)


def _weight(op: OpView) -> FloatArray:
    return np.asarray(op.constant_float64(1), np.float64)


def strides_of(op: OpView) -> tuple[int, ...]:
    """Per spatial axis."""
    return tuple(op.attributes.get("strides", [1] * (_weight(op).ndim - 2)))


def core_of(op: OpView) -> Conv:
    """A convolution of one group as a map."""
    weight, bias = _weight(op), op.constant_float64(2)
    spatial = weight.ndim - 2
    pads = tuple(op.attributes.get("pads", [0] * 2 * spatial))
    dilations = tuple(op.attributes.get("dilations", [1] * spatial))
    bias = np.zeros(len(weight)) if bias is None else bias.reshape(-1)
    return Conv(weight, bias, strides_of(op), dilations, pads[:spatial], pads[spatial:])


@dataclass
class SlimFitter:
    """The second convolution on the channels that stay, fitted to what it made of all of them.

    Attributes:
        second: as it is.
        keep: channels that stay.
        rng: picks positions.
        terms: how.
    """

    second: OpView
    keep: int
    rng: np.random.Generator
    terms: Terms = PLAIN
    _inner: ConvFitter = field(init=False)

    def __post_init__(self) -> None:
        core = core_of(self.second)
        outputs, inputs = core.weight.shape[:2]
        self._inner = ConvFitter(inputs, outputs, core.kernel, core.strides, self.rng, self.terms, core)

    def add(self, x: Array, y: Array, beside: Array | None = None) -> None:
        """Take one batch: x, the rectifier's result; y, the second convolution's with what others add to it."""
        self._inner.add(x, y, beside)

    def solve(self) -> Fitting:
        """The convolution, and which channels it reads."""
        return self._inner.solve_on(self._kept())

    def _kept(self) -> tuple[int, ...]:
        """Channels by exact elimination, or by their spread, weighted by what reads them, where there are too many."""
        weight, sums = _weight(self.second), self._inner.sums
        taps = int(np.prod(weight.shape[2:]))
        if len(sums.gram) <= LARGEST:
            return kept_groups(sums, taps, self.keep)
        rows = max(1, sums.rows)
        spreads = np.diag(sums.gram)[:-1] / rows - np.square(sums.gram[-1, :-1] / rows)
        scores = spreads.reshape(-1, taps).mean(axis=1) * np.square(weight).sum(axis=(0, *range(2, weight.ndim)))
        return tuple(sorted(np.argsort(-scores, kind="stable")[: self.keep].tolist()))


def choices(
    view: GraphView, slim: Slim, fitting: Fitting, labels: tuple[str, ...], first: Conv | None = None
) -> tuple[Choice, ...]:
    """Both convolutions anew.

    Args:
        view: the graph.
        slim: which two.
        fitting: of the second.
        labels: of the operators, for people.
        first: the first with weights of its own, where it was fitted anew; all channels.
    """
    op = view.op_of(slim.operand)
    if op is None or not isinstance(fitting.core, Conv):
        raise AssertionError("a slim pair without its convolutions")
    kept = list(fitting.kept)
    whole = core_of(op) if first is None else first
    core = replace(whole, weight=whole.weight[kept], bias=whole.bias[kept])
    entry, middle = view.tensors[slim.entry].shape or (), view.tensors[slim.operand].shape or ()
    end, narrow = view.tensors[slim.target].shape or (), (middle[0], len(kept), *middle[2:])
    return (
        Choice(slim.operand, slim.entry, Form(entry, core, narrow, straight(len(narrow))), labels),
        Choice(slim.target, slim.hidden, Form(narrow, fitting.core, end, straight(len(end))), labels),
    )
