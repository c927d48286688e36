"""Recognise a rectifier spelt as several operators.

Finders follow producers backwards from the last operator. All searches are bounded in depth, so that
looking at every operator of a graph costs time linear in its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.activations.parameters import scalar
from onnx_nepenthe.opview import OpView, Shape, Tensor

POLYNOMIAL_DEPTH = 6
"""x^3 written as three products, scaled, added to x and scaled again."""
PRODUCT_DEPTH = 3
UNWRAP_DEPTH = 3
HIGHEST_DEGREE = 3
LITERAL = 1e-3
"""Relative tolerance for constants that exporters write with few digits (sqrt(2), 0.044715)."""
EXACT = 1e-6
"""Relative tolerance for constants that float32 holds up to rounding (1, 1/2, 1/6)."""
Polynomial = tuple[float, ...]
"""Coefficients, constant first, without trailing zeros."""


def source(tensor: Tensor) -> Tensor:
    """The value behind Identity operators."""
    while tensor.producer is not None and tensor.producer.op_type == "Identity" and not tensor.producer.domain:
        behind = tensor.producer.input(0)
        if behind is None:
            return tensor
        tensor = behind
    return tensor


def made_by(tensor: Tensor | None, *op_types: str) -> OpView | None:
    """The operator of the default domain that makes `tensor`, when it is one of `op_types`."""
    view = None if tensor is None else source(tensor).producer
    return view if view is not None and not view.domain and view.op_type in op_types else None


def is_close(found: float, wanted: float, tolerance: float = EXACT) -> bool:
    """Whether the two differ by at most `tolerance`, relatively; zero must be zero."""
    return math.isclose(found, wanted, rel_tol=tolerance)


def polynomial(tensor: Tensor | None, x: Tensor, depth: int = POLYNOMIAL_DEPTH) -> Polynomial | None:
    """`tensor` as a polynomial in `x` of degree three at most; None when it is none.

    The constants in it must not enlarge the shape of `x`.
    """
    if tensor is None:
        return None
    tensor = source(tensor)
    if tensor.name == x.name:
        return (0.0, 1.0)
    number = scalar(tensor, x.shape) if tensor.constant is not None else _filled(tensor, x)
    if number is not None:
        return _trimmed((number,))
    view = made_by(tensor, *_ARITHMETIC)
    if view is None or depth == 0:
        return None
    terms: list[Polynomial] = []
    for operand in view.inputs:
        term = polynomial(operand, x, depth - 1)
        if term is None:
            return None
        terms.append(term)
    combined = _ARITHMETIC[view.op_type](terms)
    return combined if combined is None or len(combined) <= HIGHEST_DEGREE + 1 else None


def _filled(tensor: Tensor, x: Tensor) -> float | None:
    """The number that `zeros_like(x)` and its kind repeat in the shape of x, which need not be known."""
    view = made_by(tensor, "ConstantOfShape", "Expand")
    if view is None:
        return None
    shape = made_by(view.input(0 if view.op_type == "ConstantOfShape" else 1), "Shape")
    if shape is None or shape.attributes.get("start", 0) != 0 or "end" in shape.attributes:
        return None
    operand = shape.input(0)
    if operand is None or source(operand).name != x.name:
        return None
    if view.op_type == "Expand":
        return scalar(view.input(0), x.shape)
    fill = view.attributes.get("value")
    return 0.0 if fill is None else scalar(Tensor("", (1,), constant=np.asarray(fill)), x.shape)


def _trimmed(coefficients: Sequence[float]) -> Polynomial:
    """Without trailing zeros: the zero polynomial is ()."""
    values = [float(c) for c in coefficients]
    while values and values[-1] == 0:
        values.pop()
    return tuple(values)


def _padded(term: Polynomial) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(term or (0.0,), np.float64)


def _add(terms: list[Polynomial]) -> Polynomial | None:
    size = max(len(term) for term in terms)
    return _trimmed([sum(term[i] for term in terms if i < len(term)) for i in range(size)])


def _subtract(terms: list[Polynomial]) -> Polynomial | None:
    return _add([terms[0], tuple(-c for c in terms[1])])


def _multiply(terms: list[Polynomial]) -> Polynomial | None:
    return _trimmed(np.convolve(_padded(terms[0]), _padded(terms[1])).tolist())


def _divide(terms: list[Polynomial]) -> Polynomial | None:
    return _trimmed([c / terms[1][0] for c in terms[0]]) if len(terms[1]) == 1 else None


def _negate(terms: list[Polynomial]) -> Polynomial | None:
    return tuple(-c for c in terms[0])


def _power(terms: list[Polynomial]) -> Polynomial | None:
    base, exponent = terms
    if len(exponent) != 1 or exponent[0] not in (1.0, 2.0, 3.0):
        return None
    power: Polynomial | None = base
    for _ in range(int(exponent[0]) - 1):
        power = None if power is None else _multiply([power, base])
    return power


_ARITHMETIC: dict[str, Callable[[list[Polynomial]], Polynomial | None]] = {
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Neg": _negate,
    "Pow": _power,
}


def unwrap(tensor: Tensor | None, *op_types: str) -> tuple[OpView, float, float] | None:
    """`(core, scale, shift)` with `tensor = scale * core + shift` and `core` one of `op_types`, or None."""
    inner = tensor
    for _ in range(UNWRAP_DEPTH):
        core = made_by(inner, *op_types)
        if core is not None:
            break
        step = made_by(inner, *_ARITHMETIC)
        free = [] if step is None else [t for t in step.inputs if t is not None and t.constant is None]
        if len(free) != 1:
            return None
        inner = free[0]
    core = made_by(inner, *op_types)
    if core is None:
        return None
    line = polynomial(tensor, Tensor(core.outputs[0], core.output_shapes[0]))
    if line is None or len(line) > 2:
        return None
    shift, scale = (*line, 0.0, 0.0)[:2]
    return core, scale, shift


@dataclass(frozen=True, eq=False)
class Gate:
    """`y = x * (scale * core + shift)`."""

    x: Tensor
    core: OpView
    scale: float
    shift: float

    def is_scaled(self, scale: float, shift: float) -> bool:
        """Whether the gate has this scale and shift, up to rounding."""
        return is_close(self.scale, scale) and is_close(self.shift, shift)

    def has_argument(self, *wanted: float, tolerance: float = EXACT) -> bool:
        """Whether the core's operand is the polynomial in x with these coefficients, constant first."""
        found = polynomial(self.core.input(0), self.x)
        if found is None or len(found) != len(wanted):
            return False
        return all(is_close(f, w, tolerance) for f, w in zip(found, wanted, strict=True))


def gates(view: OpView, *op_types: str) -> Iterator[Gate]:
    """Every way to read `view` as a gate whose core is one of `op_types`, in any order of the factors."""
    if view.domain or view.op_type not in ("Mul", "Div"):
        return
    shape = view.output_shapes[0]
    for factor, leaves in _factors(Tensor(view.key, shape, producer=view), shape, PRODUCT_DEPTH):
        if len(leaves) != 2:
            continue
        for x, gate in (leaves, leaves[::-1]):
            unwrapped = unwrap(gate, *op_types)
            if unwrapped is not None:
                core, scale, shift = unwrapped
                yield Gate(source(x), core, factor * scale, factor * shift)


def _factors(tensor: Tensor, like: Shape | None, depth: int) -> Iterator[tuple[float, tuple[Tensor, ...]]]:
    """Ways to write `tensor` as a number times at most two values."""
    number = scalar(tensor, like)
    if number is not None:
        yield number, ()
        return
    yield 1.0, (tensor,)
    view = made_by(tensor, "Mul", "Div") if depth else None
    if view is None:
        return
    first, second = view.input(0), view.input(1)
    if first is None or second is None:
        return
    if view.op_type == "Div":
        divisor = scalar(second, like)
        for factor, leaves in _factors(first, like, depth - 1) if divisor else ():
            yield factor / (divisor or 1.0), leaves
        return
    right = list(_factors(second, like, depth - 1))
    for factor, leaves in _factors(first, like, depth - 1):
        yield from ((factor * f, leaves + more) for f, more in right if len(leaves) + len(more) <= 2)
