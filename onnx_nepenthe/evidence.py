"""Why a decision may be made: proved, observed or fitted (DESIGN.md, idea 3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

CONFIDENCE = 0.95


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
        samples: samples (images) that they come from; 0 when not known.
        channels: how many channels rest on observation.
    """

    n: int
    samples: int = 0
    channels: int = 1

    @property
    def bound(self) -> float:
        """3/n, at most 1: the 95 % upper bound on one channel's flip rate ("rule of three", ALGORITHMS.md §1).

        It takes observations to be independent, which positions of one image are not: see `bound_by_samples`.
        """
        return rate_bound(self.n)

    @property
    def bound_by_samples(self) -> float:
        """3/samples, at most 1: the same bound whatever the positions of one sample have to do with each other.

        The flip rate is at most the share of samples with a flip, and samples are independent.
        """
        return rate_bound(self.samples)

    @property
    def layer_bound(self) -> float:
        """95 % upper bound on the rate at which any of the channels flips: the union bound, at most 1."""
        return union_bound(self.n, self.channels)

    @property
    def layer_bound_by_samples(self) -> float:
        """As `layer_bound`, for samples in which any of the channels flips anywhere."""
        return union_bound(self.samples, self.channels)

    def __str__(self) -> str:
        return f"observed: n={self.n}, flip rate <= {self.bound:.1e} (95 %)"


def rate_bound(n: int) -> float:
    """95 % upper bound on the rate of what was never seen in `n` independent observations: 3/n, at most 1.

    >>> rate_bound(30_000), rate_bound(0)
    (0.0001, 1.0)
    """
    return min(1.0, 3.0 / n) if n else 1.0


def union_bound(n: int, channels: int) -> float:
    """95 % upper bound on the rate of any of `channels` things, none of which was ever seen in `n` observations.

    Each rate is at most ln(channels / 0.05) / n with probability 1 - 0.05 / channels, so all are with 95 %; the rate
    of any of them is at most their sum.

    >>> union_bound(30_000, 1) < rate_bound(30_000) < union_bound(30_000, 64)
    True
    """
    return min(1.0, channels * log(channels / 0.05) / n) if n and channels else 1.0


def observations_for(rate: float) -> int:
    """How many independent observations without a flip support a 95 % bound of `rate`.

    >>> observations_for(1e-4)
    30000
    """
    return ceil(3.0 / rate * (1 - 1e-12))


def samples_for_layer(rate: float, channels: int) -> int:
    """How many independent observations without a flip support a 95 % bound of `rate` on any of `channels` flipping.

    >>> samples_for_layer(1e-3, 64), union_bound(samples_for_layer(1e-3, 64), 64) <= 1e-3
    (457896, True)
    """
    return ceil(channels * log(channels / (1 - CONFIDENCE)) / rate)


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
