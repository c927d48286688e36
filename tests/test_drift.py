"""Decisions of one day against the data of another."""

from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.drift import drifts
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts

RELU = Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)))


def rectifier(activation: Activation = RELU) -> Rectifier:
    return Rectifier("y", "Relu_1", "Relu", "z", "y", activation, 1, 3, 14)


def of(off: Any, on: Any, ties: Any = (0, 0, 0), nonfinite: int = 0, model: str = "ab") -> Measurement:
    counts = RegimeCounts(np.array([off, on]), np.array([ties]), np.zeros(3), np.zeros(3), nonfinite)
    return Measurement({"y": counts}, 10, model_hash=model)


def test_a_line_that_still_holds_is_no_drift() -> None:
    recorded = of([10, 0, 0], [0, 10, 10])
    assert drifts([rectifier()], recorded, of([7, 0, 0], [0, 5, 7], [0, 2, 0])) == ()
    assert drifts([rectifier()], recorded, of([0, 0, 0], [0, 0, 0])) == ()


def test_a_line_that_broke() -> None:
    (drift,) = drifts([rectifier()], of([10, 0, 0], [0, 10, 10]), of([7, 2, 0], [0, 6, 8]))
    assert (drift.was_line, drift.channels, drift.outside, drift.observations) == (True, (1,), 2, 8)
    assert str(drift) == "Relu_1: was a line; 1 channel leaves its regime, in 25 % of its observations"


def test_constant_channels_of_a_rectifier_that_stays() -> None:
    """Channel 0 was off, and could be cut; channel 1 was on, which decides nothing by itself; channel 2 changes."""
    recorded = of([10, 0, 5], [0, 10, 5])
    assert drifts([rectifier()], recorded, of([10, 3, 10], [0, 7, 0])) == ()
    (drift,) = drifts([rectifier()], recorded, of([9, 0, 5], [1, 10, 5]))
    assert (drift.was_line, drift.channels) == (False, (0,))
    assert str(drift) == "Relu_1: 1 channel was constant and is not, in 10 % of its observations"


def test_the_other_side_of_a_knot_is_drift_even_when_one_piece_explains_it() -> None:
    """All on a knot was decided as off; all on now would be a line too, but another one."""
    (drift,) = drifts([rectifier()], of([0, 0, 0], [0, 9, 9], [9, 0, 0]), of([0, 0, 0], [8, 9, 9]))
    assert drift.channels == (0,)


def test_drift_of_several_channels_is_told_by_the_worst() -> None:
    (drift,) = drifts([rectifier()], of([10, 0, 0], [0, 10, 10]), of([7, 2, 4], [0, 6, 4]))
    assert str(drift) == "Relu_1: was a line; 2 channels leave their regime, one of them in 50 % of its observations"
    (drift,) = drifts([rectifier()], of([10, 10, 5], [0, 0, 5]), of([9, 5, 5], [1, 5, 5]))
    assert str(drift) == "Relu_1: 2 were constant and are not, one in 50 % of its observations"


def test_nan_is_drift() -> None:
    (drift,) = drifts([rectifier()], of([9, 9, 9], [0, 0, 0]), of([9, 9, 9], [0, 0, 0], nonfinite=4))
    assert str(drift) == "Relu_1: its input was NaN 4 times"
    assert drifts([rectifier()], of([9, 9, 9], [0, 0, 0], nonfinite=4), of([1, 1, 1], [1, 1, 1])) == ()


def test_rectifiers_that_one_side_lacks_are_left_out() -> None:
    assert drifts([rectifier()], Measurement({}, 1, model_hash="ab"), of([1, 1, 1], [1, 1, 1])) == ()


def test_another_model_and_other_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="of another model"):
        drifts([rectifier()], of([1, 1, 1], [0, 0, 0]), of([1, 1, 1], [0, 0, 0], model="cd"))
    three = Activation((0.0, 6.0), ((0.0, 0.0), (1.0, 0.0), (0.0, 6.0)))
    with pytest.raises(UsageError, match="other regimes or channels of Relu_1"):
        drifts([rectifier(three)], of([1, 1, 1], [0, 0, 0]), of([1, 1, 1], [0, 0, 0]))
