"""Two matrix products with a rectifier between them that nobody else reads: the MLP of a transformer, say.

1x1 convolutions are matrix products on channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.charting import chart
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds.base import Offer, Seen
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.opview import Shape
from onnx_nepenthe.plan import Choice
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.spans import between, is_closed

MULTIPLE = 8
"""Kernels like blocks of channels."""
LARGEST_SYSTEM = 2400
"""Unknowns per output of the largest regression."""


@dataclass(frozen=True, eq=False)
class Pair:
    """target = second(rectifier(first(entry))).

    Attributes:
        entry, operand, hidden, target: values, in this order.
        rectifier: key of the rectifier.
        first: (width, inputs), from the entry to the operand.
        second: (outputs, width), from the hidden value to the target.
        ops: keys of all operators.
    """

    entry: str
    operand: str
    hidden: str
    target: str
    rectifier: Rectifier
    first: Dense
    second: Dense
    ops: frozenset[str]

    @property
    def width(self) -> int:
        """Channels between the two."""
        return len(self.first.bias)

    @property
    def inputs(self) -> int:
        """Channels of the entry."""
        return int(self.first.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Channels of the target."""
        return len(self.second.bias)

    @property
    def macs(self) -> int:
        """Multiply-adds per position."""
        return self.width * (self.inputs + self.outputs)


def pairs(seen: Seen) -> Iterator[Pair]:
    """All of a graph, in graph order."""
    atlas = chart(seen.view, {})
    for rectifier in seen.rectifiers:
        first = _before(atlas, rectifier)
        second = _after(atlas, rectifier)
        if first is None or second is None or rectifier.channels is None:
            continue
        (entry, one), (target, other) = first, second
        ops = between(seen.view, entry, target)
        if ops is None or one.axis != other.axis or not is_closed(seen.view, ops, target):
            continue
        if _is_alone(seen, rectifier, ops) and _is_blind(seen.view, rectifier):
            names = (entry, rectifier.operand, rectifier.output, target)
            yield Pair(*names, rectifier, one, other, frozenset(ops))


def _is_alone(seen: Seen, rectifier: Rectifier, ops: Set[str]) -> bool:
    return {other.key for other in seen.rectifiers} & ops == {rectifier.key}


def _is_blind(view: GraphView, rectifier: Rectifier) -> bool:
    """Whether the rectifier does the same to every channel, so that some may go."""
    inside = between(view, rectifier.operand, rectifier.output) or set()
    ops = [op for op in map(view.op_of, inside) if op is not None]
    constants = [t.constant for op in ops for t in op.inputs if t is not None and t.constant is not None]
    return bool(ops) and all(constant.size == 1 for constant in constants)


def _before(atlas: Atlas, rectifier: Rectifier) -> tuple[str, Dense] | None:
    """The nearest value of which the pre-activation is a matrix product, and the matrix."""
    for source in atlas.sources(rectifier.operand):
        form = atlas.form(source, rectifier.operand)
        found = matrix_of(form) if isinstance(form, Form) else None
        if found is not None:
            return source, found
        if not isinstance(form, Form) or not isinstance(form.core, PerChannel):
            return None
    return None


def _after(atlas: Atlas, rectifier: Rectifier) -> tuple[str, Dense] | None:
    """The value that is the matrix product of the rectifier's result, its bias added, and the matrix."""
    view, name = atlas.view, rectifier.output
    found: tuple[str, Dense] | None = None
    while len(view.consumers.get(name, ())) == 1 and not view.is_pinned(name):
        value = atlas.affine.get(view.ops[view.consumers[name][0]].outputs[0])
        if value is None or set(value.operands) != {name}:
            break
        is_line = isinstance(value.reading, Chain) and all(isinstance(s, PerChannel) for s in value.reading.steps)
        if found is not None and not is_line:
            break
        form = atlas.form(rectifier.output, value.name)
        matrix = matrix_of(form) if isinstance(form, Form) else None
        if matrix is None and not is_line:
            break
        found, name = (value.name, matrix) if matrix is not None else found, value.name
    return found


def matrix_of(form: Form) -> Dense | None:
    """The matrix along one axis that a form is; None for any other."""
    if not form.is_straight:
        return None
    match form.core:
        case Dense():
            return form.core
        case Conv() as m if set(m.kernel) == {1} and set(m.strides) == {1} and m.groups == 1 and not m.is_padded:
            return Dense(1, m.weight.reshape(len(m.bias), -1), m.bias)
    return None


def first_of(offer: Offer, view: GraphView, kept: tuple[int, ...]) -> tuple[Choice, Shape]:
    """The first product on the channels that stay, and the shape of what it makes."""
    pair = pair_of(offer)
    rows = list(kept)
    entry, middle = view.tensors[pair.entry].shape or (), view.tensors[pair.operand].shape or ()
    narrow = (*middle[: offer.axis], len(rows), *middle[offer.axis + 1 :])
    core = Dense(offer.axis, pair.first.weight[rows], pair.first.bias[rows])
    form = Form(entry, core, narrow, straight(len(narrow)))
    return Choice(pair.operand, pair.entry, form, tuple(sorted(offer.ops))), narrow


def pair_of(offer: Offer) -> Pair:
    """What the offer is about."""
    if not isinstance(offer.detail, Pair):
        raise AssertionError(f"{offer.kind} is about no pair")
    return offer.detail


def rounded(keep: int) -> int:
    """The next number of channels that kernels like."""
    return max(MULTIPLE, -(-keep // MULTIPLE) * MULTIPLE)
