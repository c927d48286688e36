"""Where smooth rectifiers become lines for every practical purpose.

Each constant is the |z| beyond which `|f(z) - line(z)| <= 2**-24 * max(1, |z|)`: half a unit in the last
place of float32, so that a float32 result is the line's up to one rounding. The line is still reached only in
the limit; such pieces are marked `asymptotic` and never give an exact decision.
"""

import math

TAIL = 2.0**-24
LOGISTIC = 24 * math.log(2)
"""sigmoid(-16.64) = exp(-16.64) = 2**-24: SiLU, Softplus, left side of Mish, ELU and its relatives."""
GELU = 5.3
"""Phi(-5.3) = 5.8e-8."""
GELU_TANH = 4.98
"""(1 - tanh(sqrt(2/pi) * (z + 0.044715 z^3))) / 2 = 5.6e-8 at 4.98."""
MISH = 8.68
"""1 - tanh(softplus(z)) = 2 / ((1 + exp(z))^2 + 1) = 5.8e-8 at 8.68."""
