"""What an activation is: continuity and joining of pieces."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.activations.base import Activation


def test_rounded_knot_is_continuous() -> None:
    alpha = float(np.float32(1 / 6))
    sigmoid = Activation((-0.5 / alpha, 0.5 / alpha), ((0.0, 0.0), (alpha, 0.5), (0.0, 1.0)))
    assert sigmoid.is_continuous(0)
    assert sigmoid.is_continuous(1)


def test_small_jump_is_a_jump() -> None:
    assert not Activation((1e-30,), ((0.0, 0.0), (1.0, 0.0))).is_continuous(0)
    assert not Activation((1.0,), ((1.0, 0.0), (1.0, 1e-9))).is_continuous(0)


def test_per_channel_jump() -> None:
    knots = np.array([0.0, 0.5])
    assert not Activation((knots,), ((0.0, 0.0), (1.0, 0.0))).is_continuous(0)
    assert Activation((knots,), ((0.0, knots), (1.0, 0.0))).is_continuous(0)


def test_merged_joins_equal_exact_neighbours_only() -> None:
    on, off = (1.0, 0.0), (0.0, 0.0)
    activation = Activation(
        (-1.0, 0.0, 1.0, 2.0, 3.0),
        (off, off, None, on, on, on),
        frozenset({5}),
        (True, False, True, False, True),
    )
    merged = activation.merged()
    assert merged.knots == (0.0, 1.0, 3.0)
    assert merged.lines == (off, None, on, on)
    assert merged.asymptotic == {3}
    assert merged.knot_above == (False, True, True)


def test_merged_compares_every_channel() -> None:
    some, all_ = np.array([1.0, 0.5]), np.array([1.0, 1.0])
    assert Activation((0.0,), ((some, 0.0), (1.0, 0.0))).merged().regimes == 2
    assert Activation((0.0,), ((all_, 0.0), (1.0, 0.0))).merged().regimes == 1


def test_lines_must_match_knots() -> None:
    with pytest.raises(ValueError, match="1 knots need 2 lines, not 1"):
        Activation((0.0,), ((1.0, 0.0),))


def test_curved_piece_has_no_line() -> None:
    with pytest.raises(ValueError, match="piece 0 is curved"):
        Activation((0.0,), (None, (1.0, 0.0))).line(0, 3)
