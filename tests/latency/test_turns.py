"""Sessions that take turns: one is there at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from onnx_nepenthe.latency import Comparison, compare_in_turns


@dataclass
class Room:
    """A clock that only runs move, and who is there."""

    pace: Callable[[int], float] = lambda call: 1.0
    now: float = 0.0
    calls: int = 0
    opened: list[str] = field(default_factory=list)
    here: int = 0
    most: int = 0

    def __call__(self) -> float:
        return self.now


class Visitor:
    """A session that leaves when nobody holds it."""

    provider = "fake"

    def __init__(self, room: Room, name: str, cost_s: float) -> None:
        self._room, self._cost_s = room, cost_s
        room.opened.append(name)
        room.here += 1
        room.most = max(room.most, room.here)

    def __del__(self) -> None:
        self._room.here -= 1

    def run(self, feeds: object) -> list[np.ndarray]:
        self._room.calls += 1
        self._room.now += self._cost_s * self._room.pace(self._room.calls)
        return []


def timed(room: Room, before_s: float, after_s: float, **options: float) -> Comparison:
    return compare_in_turns(
        lambda: Visitor(room, "A", before_s),
        lambda: Visitor(room, "B", after_s),
        {},
        rng=np.random.default_rng(0),
        clock=room,
        **options,
    )


def test_one_session_at_a_time() -> None:
    room = Room()
    found = timed(room, 0.004, 0.002, threads=3)
    assert "".join(room.opened) == "ABABA"
    assert (room.most, room.here) == (1, 0)
    assert (found.before_ms, found.after_ms) == (pytest.approx(4.0), pytest.approx(2.0))
    assert found.speedup == found.low == found.high == pytest.approx(2.0)
    assert (found.provider, found.threads, len(found.each_ms)) == ("fake", 3, found.pairs)
    assert found.is_faster


def test_the_slower_one_is_called_slower() -> None:
    assert timed(Room(), 0.002, 0.0021).is_slower


@pytest.mark.parametrize("slope", [0.01, -0.001])
def test_linear_drift_cancels(slope: float) -> None:
    found = timed(Room(lambda call: 1.0 + slope * call), 0.04, 0.04, budget_s=3.0)
    assert found.speedup == pytest.approx(1.0)
    assert found.is_tie


def test_what_one_session_in_two_has_shows_in_the_control() -> None:
    room = Room()
    costs = iter([0.0020, 0.0021, 0.0024, 0.0021, 0.0020])
    found = compare_in_turns(
        lambda: Visitor(room, "A", next(costs)),
        lambda: Visitor(room, "B", next(costs)),
        {},
        rng=np.random.default_rng(0),
        clock=room,
    )
    assert found.control_low == pytest.approx(0.0020 / 0.0024)
    assert found.is_tie


def test_the_budget_bounds_the_calls_and_min_pairs_does_where_one_call_is_long() -> None:
    room = Room()
    found = timed(room, 0.1, 0.1, budget_s=12.0)
    assert found.pairs == 20
    assert room.now < 16.0
    assert timed(Room(), 100.0, 100.0, min_pairs=4).pairs == 4
