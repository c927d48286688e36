"""How far two orders of summation may drift apart."""

from __future__ import annotations

import math

# (machine epsilon, epsilons per layer, largest error relative to the magnitude of the output)
_RULES = {
    "double": (2.0**-52, 1024.0, 1e-9),
    "float": (2.0**-23, 1024.0, 8e-4),
    "float16": (2.0**-10, 8.0, 3e-2),
    "bfloat16": (2.0**-7, 2.0, 6e-2),
    "int8": (2.0**-7, 2.0, 6e-2),
}


def tolerance(dtype: str, depth: int, scale: float) -> float:
    """The largest absolute error of an output that rounding may explain: min(c · eps · sqrt(depth), cap) · scale.

    Every layer adds rounding errors of random sign, hence the square root; c leaves room for long sums and for
    cancellation: between onnxruntime's own optimisation levels, image classifiers differ by a hundredth of it and a
    style-transfer net whose instance normalisations amplify errors by a quarter. The cap keeps
    0.1 % errors visible in float at any depth and wrong borders (11 %) in every type.

    Args:
        dtype: the coarsest type the model computes in: "double" (c 1024, cap 1e-9), "float" (1024, 8e-4), "float16"
            (8, 3e-2), "bfloat16" (2, 6e-2), "int8" for quantised models, where one step may flip (2, 6e-2).
        depth: weighted operators on the longest path; less than 1 counts as 1.
        scale: largest magnitude of the output; a smaller one than eps counts as eps.

    Raises:
        ValueError: no rule for `dtype`.

    >>> f"{tolerance('float', 1, 10.0):.1e}"
    '1.2e-03'
    """
    if dtype not in _RULES:
        raise ValueError(f"no tolerance for {dtype}; known: {', '.join(_RULES)}")
    epsilon, per_layer, cap = _RULES[dtype]
    return min(per_layer * epsilon * math.sqrt(max(depth, 1)), cap) * max(scale, epsilon)
