"""Groups of features go in the order in which a regression misses them least."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from onnx_nepenthe.elimination import kept_groups
from onnx_nepenthe.normal import Sums

TAPS = 2


def sums_of(x: np.ndarray, y: np.ndarray) -> Sums:
    sums = Sums.of(x.shape[1], y.shape[1])
    sums.take(np.concatenate([x, np.ones((len(x), 1))], axis=1), y)
    return sums


def error_of(sums: Sums, groups: tuple[int, ...]) -> float:
    """What is left when only these groups are used."""
    wanted = np.array([group * TAPS + tap for group in groups for tap in range(TAPS)] + [len(sums.gram) - 1])
    fewer = sums.on(wanted)
    return fewer.error(fewer.solve(1e-9))


def correlated(seed: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((500, groups * TAPS)) @ rng.standard_normal((groups * TAPS, groups * TAPS))
    return x, x @ rng.standard_normal((groups * TAPS, 3)) + rng.standard_normal((500, 3))


def test_one_group_goes_as_refitting_says() -> None:
    for seed in range(10):
        sums = sums_of(*correlated(seed, 5))
        best = min(combinations(range(5), 4), key=lambda groups: error_of(sums, groups))
        assert kept_groups(sums, TAPS, 4) == best


def test_a_copy_goes_and_what_is_alone_stays() -> None:
    x, y = correlated(0, 4)
    x[:, 2:4] = x[:, 0:2] + 1e-3 * np.random.default_rng(1).standard_normal((500, 2))
    kept = kept_groups(sums_of(x, y), TAPS, 3)
    assert len({0, 1} & set(kept)) == 1
    assert {2, 3} <= set(kept)


def test_what_stays_is_nearly_the_best_choice() -> None:
    for seed in range(5):
        sums = sums_of(*correlated(seed, 6))
        best = min(error_of(sums, groups) for groups in combinations(range(6), 3))
        worst = max(error_of(sums, groups) for groups in combinations(range(6), 3))
        assert error_of(sums, kept_groups(sums, TAPS, 3)) <= best + 0.2 * (worst - best)
