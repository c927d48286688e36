"""Proofs stop after so much work, wherever they run, or after a time, and say which."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import prove
from onnx_nepenthe.proving.effort import Effort, OutOfEffortError
from onnx_nepenthe.rectifiers import find_rectifiers
from tests.helpers.build import Builder
from tests.helpers.collapsing import inspect

RANGES = {"x": (0.0, 1.0)}


def network() -> onnx.ModelProto:
    """Two layers of which a relaxation proves units that intervals do not."""
    g = Builder(np.random.default_rng(0))
    y = g.node("Relu", g.gemm("x", (6, 16)), out="first")
    y = g.node("Relu", g.gemm(y, (16, 16)), out="second")
    return g.model({"x": ["N", 6]}, [g.gemm(y, (16, 4))])


def proved(work: float, limit_s: float = 60.0) -> tuple[dict[str, list[int]], Effort]:
    view = view_from_model(ir.from_proto(network()))
    effort = Effort(limit_s, work)
    found = prove(view, find_rectifiers(view)[0], RANGES, effort)
    return {key: pieces.tolist() for key, (pieces, _) in found.items()}, effort


def test_enough_work_is_not_all_spent() -> None:
    found, effort = proved(1e9)
    assert effort.stopped == ""
    # Each of 2 x 16 units in 2 x 3 forms: at most 16 x 7 + 16 x 17 multiply-adds and some passes over 16 numbers.
    assert 0 < effort.spent < 2 * 6 * 16 * (16 * 7 + 16 * 17 + 8 * 16 * 10)
    assert found == proved(effort.spent)[0]


def test_the_same_work_proves_the_same_and_less_work_no_more() -> None:
    full, effort = proved(1e9)
    for share in (0.1, 0.5, 0.9):
        part, stopped = proved(share * effort.spent)
        assert part == proved(share * effort.spent, limit_s=30.0)[0]
        assert "(the same on every machine); --prove-work" in stopped.stopped
        assert all(p in (f, -1) for key in full for p, f in zip(part[key], full[key], strict=True))


def test_no_time_is_said_apart() -> None:
    _, effort = proved(1e9, limit_s=-1.0)
    assert "cut off after -1 s (another run may get further); --prove-budget" in effort.stopped


def test_spending_beyond_the_limit_raises() -> None:
    effort = Effort(60.0, 10)
    effort.spend(10)
    with pytest.raises(OutOfEffortError, match="ended at its limit of 10 multiply-adds"):
        effort.spend(1)


def test_a_report_says_that_a_proof_was_stopped() -> None:
    assert not any("relaxation" in note for note in inspect(network(), input_ranges=RANGES).notes)
    (note,) = (n for n in inspect(network(), input_ranges=RANGES, prove_work=100.0).notes if "relaxation" in n)
    assert "ended at its limit of 1e+02 multiply-adds" in note
