"""Operators that stay, with weights fitted anew to what they made before something upstream was replaced.

Each is to give, on what it reads now, what it gave in the original: a regression drawn to the weights it has. A branch
that ends in a sum aims at the sum, so that it makes up for what the other branch has lost.
Source: ALGORITHMS.md §8 (inputs from the current net, targets from the original one); He et al., Channel Pruning for
Accelerating Very Deep Neural Networks (2017), §3.2 for branches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.charting import chart
from onnx_nepenthe.fit import Array, ConvFitter, DenseFitter, Fitter, Fitting, Terms
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.lines import LineFitter
from onnx_nepenthe.onesided import Bounds
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regions import Affine, Atlas

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
LARGEST_SYSTEM = 2400
"""Unknowns per output of the largest regression; larger operators, and grouped ones, get a line per channel."""
FLOATS = frozenset({"float", "float16", "double"})


@dataclass(frozen=True, eq=False)
class Site:
    """An operator that can be fitted anew, with the lines behind it.

    Attributes:
        source, value: what it reads and what it and the lines make of that.
        core: the map between the two.
        ops: keys of the operators.
    """

    source: str
    value: str
    core: Conv | Dense
    ops: frozenset[str]

    @property
    def is_whole(self) -> bool:
        """Whether all weights are fitted anew, rather than a line per channel behind them."""
        match self.core:
            case Conv(groups=1, weight=weight):
                return bool(weight[0].size <= LARGEST_SYSTEM)
            case Dense(weight=weight):
                return bool(weight.shape[1] <= LARGEST_SYSTEM)
        return False


def sites(view: GraphView) -> tuple[Site, ...]:
    """All of a graph, in graph order; those that share weights with others are left out."""
    atlas = chart(view, {})
    return tuple(site for value in atlas.affine.values() if (site := _site(atlas, value)) is not None)


def _site(atlas: Atlas, value: Affine) -> Site | None:
    view, op = atlas.view, value.op
    is_float = view.tensors[value.name].dtype in FLOATS
    if op.op_type not in WEIGHTED or len(value.operands) != 1 or not is_float or _shares_weights(view, value):
        return None
    core, name, ops = _core(atlas, value.operands[0], value.name), value.name, {op.key}
    while core is not None and len(view.consumers.get(name, ())) == 1 and not view.is_pinned(name):
        following = atlas.affine.get(view.ops[view.consumers[name][0]].outputs[0])
        if following is None or set(following.operands) != {name} or not _is_line(following):
            break
        longer = _core(atlas, value.operands[0], following.name)
        if longer is None:
            break
        core, name = longer, following.name
        ops.add(following.op.key)
    return None if core is None else Site(value.operands[0], name, core, frozenset(ops))


def _shares_weights(view: GraphView, value: Affine) -> bool:
    weights = (t for t in value.op.inputs[:2] if t is not None and t.constant is not None)
    return any(len(view.consumers.get(weight.name, ())) > 1 for weight in weights)


def _is_line(value: Affine) -> bool:
    reading = value.reading
    return isinstance(reading, Chain) and not any(
        isinstance(step, Conv | Dense | TransposedConv) for step in reading.steps
    )


def _core(atlas: Atlas, source: str, name: str) -> Conv | Dense | None:
    """The map between two values, where it is a convolution or a matrix on the last axis."""
    form = atlas.form(source, name)
    if not isinstance(form, Form) or not form.is_straight:
        return None
    match form.core:
        case Conv(border=None) as conv:
            return conv
        case Dense(axis=axis) as dense if axis == len(form.source) - 1:
            return dense
    return None


def site_fitter(site: Site, rng: np.random.Generator, terms: Terms) -> Fitter:
    """What adds up the statistics of one; it reads the source, or the value where `is_whole` is false."""
    match site.core:
        case Conv() as core if site.is_whole:
            outputs, inputs = core.weight.shape[:2]
            return ConvFitter(inputs, outputs, core.kernel, core.strides, rng, terms, core)
        case Dense(axis=axis, weight=weight) as core if site.is_whole:
            return DenseFitter(weight.shape[1], len(weight), axis, rng, terms, core)
    return RescaledFitter(site.core)


@dataclass
class RescaledFitter:
    """An operator with a line per channel behind it.

    Attributes:
        core: the operator.
    """

    core: Conv | Dense
    _line: LineFitter = field(init=False)

    def __post_init__(self) -> None:
        self._line = LineFitter(len(self.core.bias), 1 if isinstance(self.core, Conv) else self.core.axis)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: what it gives now, and what is wanted."""
        self._line.add(x, y)

    def solve(self) -> Fitting:
        """The operator with other weights."""
        line = self._line.solve()
        core = compose(line.core, self.core)
        if not isinstance(core, Conv | Dense):
            raise AssertionError("a line behind an operator is not that operator")
        return replace(line, core=core)


@dataclass(frozen=True)
class Aim:
    """What a fit is judged by.

    Attributes:
        goal: the value that the original is asked for.
        beside: what is added to the fitted value to make it; "" for nothing.
        bounds: of the rectifier that alone reads the goal; None for none, or one without flat pieces.
    """

    goal: str
    beside: str = ""
    bounds: Bounds | None = None


def aim_of(view: GraphView, target: str, rectifiers: Iterable[Rectifier]) -> Aim:
    """The aim of what makes `target`: the sum it is alone added to, if the other summand is there before it."""
    goal, beside = target, ""
    users = view.consumers.get(target, ())
    if len(users) == 1 and not view.is_pinned(target):
        other = _summand(view, users[0], target)
        goal, beside = (view.ops[users[0]].outputs[0], other) if other else (target, "")
    users = view.consumers.get(goal, ())
    if len(users) != 1 or view.is_pinned(goal):
        return Aim(goal, beside)
    key = view.ops[users[0]].key
    behind = next((r for r in rectifiers if r.operand == goal and r.key == key), None)
    return Aim(goal, beside, None if behind is None else bounds_of(behind.activation))


def _summand(view: GraphView, at: int, target: str) -> str:
    """The other operand of an Add that comes before `target`; "" when there is none."""
    op = view.ops[at]
    others = [t for t in op.inputs if t is not None and t.name != target]
    if op.op_type != "Add" or op.domain or len(others) != 1 or others[0].constant is not None:
        return ""
    shape = view.tensors[target].shape
    if shape is None or others[0].shape != shape:
        return ""
    return others[0].name if _is_before(view, others[0].name, target) else ""


def _is_before(view: GraphView, name: str, other: str) -> bool:
    return next(tensor for tensor in view.tensors if tensor in (name, other)) == name


def bounds_of(activation: Activation) -> Bounds | None:
    """Where an activation is flat: up to the first number and from the second on; None when it is not.

    >>> bounds_of(Activation(knots=(0.0, 6.0), lines=((0.0, 0.0), (1.0, 0.0), (0.0, 6.0))))
    (0.0, 6.0)
    >>> bounds_of(Activation(knots=(0.0,), lines=((0.1, 0.0), (1.0, 0.0)))) is None
    True
    """
    knots = activation.knots
    if not knots or any(isinstance(knot, np.ndarray) for knot in knots):
        return None
    is_flat = [name == "OFF" and activation.is_exact(at) for at, name in enumerate(activation.names)]
    low = float(knots[0]) if is_flat[0] else -np.inf
    high = float(knots[-1]) if is_flat[-1] else np.inf
    return (low, high) if is_flat[0] or is_flat[-1] else None


def downstream(view: GraphView, names: Iterable[str]) -> frozenset[str]:
    """Keys of the operators that what happens to `names` reaches."""
    reached: set[str] = set()
    touched = set(names)
    for op in view.ops:
        if any(t is not None and t.name in touched for t in op.inputs):
            reached.add(op.key)
            touched.update(name for name in op.outputs if name)
    return frozenset(reached)
