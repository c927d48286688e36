"""Where(z > t, …): a line on each side of a threshold."""

from __future__ import annotations

from onnx_nepenthe.activations.base import PATTERNS, Activation, Match
from onnx_nepenthe.activations.comparison import comparison
from onnx_nepenthe.activations.pattern import Polynomial, polynomial
from onnx_nepenthe.opview import OpView


@PATTERNS.register("Where")
def where(view: OpView) -> Match | None:
    """`Where(z > t, z, 0)`, `Where(z > t, z, a z)`, torch's Threshold; any comparison, either order.

    At least one branch depends on z; it may jump at t.
    """
    if view.domain or view.op_type != "Where":
        return None
    switch = comparison(view.input(0))
    if switch is None:
        return None
    true, false = polynomial(view.input(1), switch.x), polynomial(view.input(2), switch.x)
    if true is None or false is None or not {len(true), len(false)} <= {0, 1, 2} or 2 not in (len(true), len(false)):
        return None
    below, above = (false, true) if switch.true_above else (true, false)
    activation = Activation(
        knots=(switch.threshold,), lines=(_line(below), _line(above)), knot_above=(switch.knot_above,)
    )
    return Match(activation, switch.x, "Where")


def _line(coefficients: Polynomial) -> tuple[float, float]:
    intercept, slope = (*coefficients, 0.0, 0.0)[:2]
    return slope, intercept
