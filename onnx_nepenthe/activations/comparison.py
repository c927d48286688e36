"""Recognise the switch of a rectifier spelt with a comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx_nepenthe.activations.parameters import scalar
from onnx_nepenthe.activations.pattern import made_by, source
from onnx_nepenthe.opview import Tensor

BOOL = 9
"""TensorProto element type."""


@dataclass(frozen=True)
class Comparison:
    """A truth value that changes once along x.

    Attributes:
        x: what is compared.
        threshold: with what.
        true_above: whether it is true above the threshold, false below it.
        knot_above: whether at the threshold it has the value it has above.
    """

    x: Tensor
    threshold: float
    true_above: bool
    knot_above: bool


_MIRRORED = {
    "Greater": "Less",
    "Less": "Greater",
    "GreaterOrEqual": "LessOrEqual",
    "LessOrEqual": "GreaterOrEqual",
}


def comparison(tensor: Tensor | None) -> Comparison | None:
    """`tensor` as a comparison of one value with one number, in either order, perhaps negated."""
    negation = made_by(tensor, "Not")
    found = _comparison(negation.input(0) if negation is not None else tensor)
    if found is None or negation is None:
        return found
    return replace(found, true_above=not found.true_above)


def _comparison(tensor: Tensor | None) -> Comparison | None:
    cast = made_by(tensor, "Cast")
    if cast is not None and cast.attributes.get("to") == BOOL:
        # torch's masked_fill casts what is a truth value already.
        tensor = cast.input(0)
    view = made_by(tensor, *_MIRRORED)
    if view is None:
        return None
    first, second, op_type = view.input(0), view.input(1), view.op_type
    if first is not None and first.constant is not None:
        first, second, op_type = second, first, _MIRRORED[op_type]
    if first is None or first.constant is not None:
        return None
    threshold = scalar(second, first.shape)
    if threshold is None:
        return None
    return Comparison(source(first), threshold, op_type.startswith("Greater"), op_type in ("GreaterOrEqual", "Less"))
