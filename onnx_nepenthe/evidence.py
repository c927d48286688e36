"""Why a decision may be made: proved, observed or fitted (DESIGN.md, idea 3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Proved:
    """Holds for every input that the declared input range admits.

    Attributes:
        how: the argument in a few words ("interval [0, inf) after Sigmoid").
    """

    how: str

    def __str__(self) -> str:
        return f"proved: {self.how}"


@dataclass(frozen=True)
class Observed:
    """Never contradicted in `n` observations of the least observed channel.

    Attributes:
        n: observations (samples x positions) of one channel.
        bound: 95 % upper bound on the flip rate, 3/n ("rule of three", ALGORITHMS.md §1).
    """

    n: int

    @property
    def bound(self) -> float:
        """3/n, at most 1."""
        return min(1.0, 3.0 / self.n) if self.n else 1.0

    def __str__(self) -> str:
        return f"observed: n={self.n}, flip rate <= {self.bound:.1e} (95 %)"


@dataclass(frozen=True)
class Fitted:
    """A least-squares replacement; spends the accuracy budget.

    Attributes:
        residual: mean squared error over variance of the target, on calibration data.
    """

    residual: float

    def __str__(self) -> str:
        return f"fitted: residual {self.residual:.3g}"


Evidence = Proved | Observed | Fitted
