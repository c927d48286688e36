"""Trials: what a region saves, what is put back, and how little is timed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import trial
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph import serial
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.plan import Choice, Region
from onnx_nepenthe.session import Session, SessionConfig, open_session
from onnx_nepenthe.trial import RegionTrial, compare_models, settle, try_regions
from tests.helpers.build import Builder
from tests.helpers.exact import Stages, stages

CONFIG = SessionConfig(threads=1)


def compared(speedup: float, width: float = 0.01, control: float = 0.005) -> Comparison:
    return Comparison(
        before_ms=1.0,
        after_ms=1 / speedup,
        speedup=speedup,
        low=speedup - width,
        high=speedup + width,
        control_low=1 - control,
        control_high=1 + control,
        pairs=9,
        provider="cpu",
        threads=1,
    )


FASTER, TIE, SLOWER = compared(1.5), compared(1.0), compared(0.7)


def region(name: str = "y") -> Region:
    return Region(name, (), 1.0)


def builder() -> Builder:
    return Builder(np.random.default_rng(0))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("comparison", "is_smaller", "refusal"),
    [
        (FASTER, False, ""),
        (FASTER, True, ""),
        (TIE, True, ""),
        (None, False, ""),
        (TIE, False, "no faster on this provider (1.00x), and not smaller"),
        (SLOWER, False, "slower on this provider than what it replaces (0.70x)"),
        (SLOWER, True, "slower on this provider than what it replaces (0.70x)"),
        (compared(1.01, width=0.05), False, "no faster on this provider (1.01x), and not smaller"),
        (compared(0.99, width=0.05), True, ""),
        (compared(1.02, width=0.01, control=0.05), False, "no faster on this provider (1.02x), and not smaller"),
    ],
)
def test_what_is_taken_and_what_is_said_of_the_rest(
    comparison: Comparison | None, is_smaller: bool, refusal: str
) -> None:
    assert RegionTrial(region(), comparison, is_smaller).refusal == refusal


# Settling: which of the accepted regions the whole model is better with.


def six_regions() -> Stages:
    g = builder()
    y = "x"
    for _ in range(6):
        y = g.node("Sigmoid", g.gemm(g.gemm(y, (4, 4)), (4, 4)))
    found = stages(g.model({"x": [2, 4]}, [y]))
    assert len(found.regions) == 6
    return found


def gemms(model: Model) -> int:
    return sum(node.op_type == "Gemm" for node in model.graph)


def settled(
    found: Stages, trials: Sequence[RegionTrial], timed: Callable[[Model], Comparison]
) -> tuple[list[int], Model | None, Comparison | None]:
    kept, model, comparison = settle(found.model, found.view, trials, timed)
    return [found.regions.index(region) for region in kept], model, comparison


def trials_of(found: Stages, *speedups: float) -> list[RegionTrial]:
    return [RegionTrial(r, compared(s), False) for r, s in zip(found.regions, speedups, strict=True)]


def test_all_are_kept_when_the_whole_is_not_slower() -> None:
    found = six_regions()
    for whole in (FASTER, TIE):
        kept, model, comparison = settled(found, trials_of(found, *[1.5] * 6), lambda _, whole=whole: whole)
        assert (kept, comparison) == ([0, 1, 2, 3, 4, 5], whole)
        assert model is not None
        assert gemms(model) == 6


def test_refused_regions_are_not_in_the_model() -> None:
    found = six_regions()
    seen: list[int] = []

    def timed(model: Model) -> Comparison:
        seen.append(gemms(model))
        return FASTER

    kept, *_ = settled(found, trials_of(found, 1.5, 0.7, 1.5, 0.9, 1.5, 1.5), timed)
    assert (kept, seen) == ([0, 2, 4, 5], [8])


def test_the_half_that_gained_least_is_put_back_and_the_order_stays() -> None:
    found = six_regions()
    seen: list[int] = []

    def timed(model: Model) -> Comparison:
        seen.append(12 - gemms(model))
        return SLOWER if len(seen) < 3 else FASTER

    kept, model, comparison = settled(found, trials_of(found, 1.1, 1.6, 1.2, 1.5, 1.3, 1.4), timed)
    assert kept == [1, 3, 5]
    assert seen == [6, 6, 3], "the whole is timed again before anything is put back"
    assert comparison == FASTER
    assert model is not None
    assert gemms(model) == 9


def test_one_slow_timing_is_not_enough() -> None:
    found = six_regions()
    answers = iter([SLOWER, TIE])
    kept, _, comparison = settled(found, trials_of(found, *[1.5] * 6), lambda _: next(answers))
    assert (len(kept), comparison) == (6, TIE)


def test_nothing_is_left_of_what_is_always_slower() -> None:
    found = six_regions()
    seen: list[int] = []

    def timed(model: Model) -> Comparison:
        seen.append(12 - gemms(model))
        return SLOWER

    assert settled(found, trials_of(found, *[1.5] * 6), timed) == ([], None, None)
    assert seen == [6, 6, 3, 3, 1, 1]


def test_nothing_is_timed_when_nothing_is_accepted() -> None:
    found = six_regions()
    assert settled(found, trials_of(found, *[0.5] * 6), lambda _: pytest.fail("timed")) == ([], None, None)
    assert settled(found, [], lambda _: pytest.fail("timed")) == ([], None, None)


def test_regions_that_could_not_be_timed_count_as_no_gain() -> None:
    found = six_regions()
    trials = trials_of(found, 1.5, 1.5, 1.1, 1.5, 1.5, 1.5)
    trials[0] = replace(trials[0], comparison=None)
    answers = iter([SLOWER, SLOWER, FASTER])
    kept, *_ = settled(found, trials, lambda _: next(answers))
    assert 0 not in kept
    assert len(kept) == 3


def test_constants_alone_are_worth_a_model_that_is_not_slower() -> None:
    g = builder()
    y = g.node("Add", g.node("Sigmoid", "x"), g.node("Abs", g.constant(g.random(4))))
    found = stages(g.model({"x": [2, 4]}, [y]))
    assert found.regions == ()
    kept, model, comparison = settled(found, [], lambda _: TIE)
    assert (kept, comparison) == ([], TIE)
    assert model is not None
    assert [node.op_type for node in model.graph] == ["Sigmoid", "Add"]
    assert settled(found, [], lambda _: SLOWER) == ([], None, None)


def narrow_and_wide() -> tuple[Stages, list[RegionTrial]]:
    """Products whose merging saves weights (4 inside 4), and one whose merging adds many (2 inside 32)."""
    g = builder()
    y = g.node("Sigmoid", g.gemm(g.gemm("x", (4, 4)), (4, 32)))
    y = g.node("Sigmoid", g.gemm(g.gemm(y, (32, 2)), (2, 32)))
    found = stages(g.model({"x": [2, 4]}, [y]))
    smaller = [r.choices[0].form.core.weight.size < 32 * 32 for r in found.regions]
    assert sorted(smaller) == [False, True]
    return found, [RegionTrial(r, FASTER, s) for r, s in zip(found.regions, smaller, strict=True)]


def test_what_made_a_model_larger_is_put_back_when_the_whole_is_no_faster() -> None:
    found, trials = narrow_and_wide()
    kept, model, comparison = settled(found, trials, lambda _: TIE)
    assert kept == [i for i, t in enumerate(trials) if t.is_smaller]
    assert comparison == TIE
    assert model is not None
    assert gemms(model) == 3


def test_a_faster_model_may_be_larger() -> None:
    found, trials = narrow_and_wide()
    kept, model, _ = settled(found, trials, lambda _: FASTER)
    assert kept == [0, 1]
    assert model is not None
    assert gemms(model) == 2


def test_a_little_larger_is_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_GROWTH", 100.0)
    found, trials = narrow_and_wide()
    assert settled(found, trials, lambda _: TIE)[0] == [0, 1]


def test_what_changes_no_size_is_put_back_when_the_whole_is_no_faster() -> None:
    g = builder()
    lowered = g.node("Sub", "x", g.constant(g.random(4)))
    found = stages(g.model({"x": [2, 4]}, [g.node("Sigmoid", lowered)]))
    form = found.atlas.form("x", lowered)
    assert isinstance(form, Form)
    trials = [RegionTrial(Region(lowered, (Choice(lowered, "x", form, ()),), 1.0), FASTER, False)]
    assert settle(found.model, found.view, trials, lambda _: TIE) == ((), None, None)
    assert settle(found.model, found.view, trials, lambda _: FASTER)[0] == (trials[0].region,)


def test_nothing_is_left_when_all_of_it_made_the_model_larger_for_nothing() -> None:
    found, trials = narrow_and_wide()
    assert settled(found, [t for t in trials if not t.is_smaller], lambda _: TIE) == ([], None, None)


# Trying: each region by itself.


class Sessions:
    """Stands in for onnxruntime: remembers what is opened, and says the same of every pair."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Comparison = FASTER) -> None:
        self.opened: list[onnx.ModelProto] = []
        self.feeds: list[dict[str, Any]] = []
        self._answer = answer
        monkeypatch.setattr(trial, "open_session", self._open)
        monkeypatch.setattr(trial, "compare", self._compare)

    def _open(self, model: Model, config: SessionConfig) -> onnx.ModelProto:
        self.opened.append(ir.to_proto(model))
        return self.opened[-1]

    def _compare(self, before: Any, after: Any, feeds: dict[str, Any], **_: Any) -> Comparison:
        self.feeds.append(feeds)
        return self._answer

    @property
    def pairs(self) -> list[tuple[list[str], list[str]]]:
        """Operators of each (before, after)."""
        types = [[node.op_type for node in model.graph.node] for model in self.opened]
        return list(zip(types[::3], types[1::3], strict=True))


def tried(found: Stages, **given: Any) -> tuple[RegionTrial, ...]:
    return try_regions(found.model, found.atlas, found.regions, **{"dims": {}, "config": CONFIG, "rng": rng(), **given})


def test_equal_regions_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    done: list[int] = []
    trials = tried(six_regions(), progress=done.append)
    assert [t.comparison for t in trials] == [FASTER] * 6
    assert all(t.is_smaller for t in trials)
    assert done == [1, 2, 3, 4, 5, 6]
    assert sessions.pairs == [(["Gemm", "Gemm", "Sigmoid"], ["Gemm", "Sigmoid"])]


@pytest.mark.parametrize(
    "shaky", [compared(2.0, width=1.2), compared(1.0, width=0.06), compared(1.2, control=0.3), compared(0.95)]
)
def test_a_timing_that_leaves_it_open_is_followed_by_a_longer_one(
    monkeypatch: pytest.MonkeyPatch, shaky: Comparison
) -> None:
    Sessions(monkeypatch)
    budgets: list[float] = []

    def compare(*_: Any, budget_s: float, **__: Any) -> Comparison:
        budgets.append(budget_s)
        return shaky if len(budgets) == 1 else FASTER

    monkeypatch.setattr(trial, "compare", compare)
    assert [t.comparison for t in tried(six_regions())] == [FASTER] * 6
    assert budgets == [trial.REGION_BUDGET_S, trial.SECOND_LOOK_S]


@pytest.mark.parametrize("clear", [FASTER, TIE, SLOWER, compared(2.0, width=0.5)])
def test_a_clear_timing_is_enough(monkeypatch: pytest.MonkeyPatch, clear: Comparison) -> None:
    sessions = Sessions(monkeypatch, clear)
    tried(six_regions())
    assert len(sessions.feeds) == 1


def test_what_needs_no_operator_is_taken_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    g = builder()
    y = g.node("Sigmoid", g.gemm(g.node("Relu", g.node("Sigmoid", "x")), (4, 4)))
    found = stages(g.model({"x": [2, 4]}, [y]))
    assert [choice.is_nothing for region in found.regions for choice in region.choices] == [True]
    sessions = Sessions(monkeypatch, SLOWER)
    (only,) = tried(found)
    assert (only.refusal, only.comparison, sessions.opened) == ("", None, [])


def test_a_region_is_timed_with_the_activation_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    g = builder()
    g.node("Tanh", g.gemm(g.gemm("x", (4, 4)), (4, 4)), out="y")
    found = stages(g.model({"x": ["N", 4]}, ["y"]))
    sessions = Sessions(monkeypatch)
    tried(found, dims={"N": 5})
    assert sessions.pairs == [(["Gemm", "Gemm"], ["Gemm"])]
    assert sessions.feeds[0]["x"].shape == (5, 4)


def test_regions_followed_by_different_activations_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    g = builder()
    y = "x"
    for op_type in ("Relu", "Tanh", "Sigmoid"):
        y = g.node(op_type, g.gemm(g.gemm(y, (4, 4)), (4, 4)))
    sessions = Sessions(monkeypatch)
    tried(stages(g.model({"x": [2, 4]}, [y])))
    assert len(sessions.pairs) == 3


def test_operators_that_something_else_needs_are_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """s is an output: going from x to y at once leaves the first product where it is."""
    g = builder()
    s = g.gemm("x", (4, 4))
    y = g.gemm(s, (4, 4))
    found = stages(g.model({"x": [2, 4]}, [s, y]))
    jump = found.atlas.form("x", y)
    assert isinstance(jump, Form)
    jumping = Region(y, (Choice(y, "x", jump, ()),), 1.0)
    sessions = Sessions(monkeypatch)
    (result,) = try_regions(found.model, found.atlas, [jumping], dims={}, config=CONFIG, rng=rng())
    assert sessions.pairs == [(["Gemm", "Gemm"], ["Gemm", "Gemm"])]
    assert not result.is_smaller


def test_a_region_that_cannot_run_by_itself_is_left_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Session:
        raise UnsupportedError("no kernel")

    monkeypatch.setattr(trial, "open_session", refuse)
    assert {(t.comparison, t.refusal) for t in tried(six_regions())} == {(None, "")}


def test_really_timed() -> None:
    g = builder()
    y = g.gemm(g.gemm("x", (64, 4096)), (4096, 64))
    found = stages(g.model({"x": [32, 64]}, [g.node("Tanh", y)]))
    (result,) = tried(found)
    assert result.comparison is not None
    assert result.comparison.speedup > 1
    assert result.is_smaller
    new = trial.rewrite(found.model, found.view, found.regions)
    x = np.ones((32, 64), np.float32)
    whole = compare_models(found.model, new, {"x": x}, CONFIG, rng(), budget_s=0.5)
    assert whole.speedup > 1


def test_large_models_take_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    g = builder()
    found = stages(g.model({"x": [2, 8]}, [g.node("Tanh", g.gemm(g.gemm("x", (8, 8)), (8, 8)))]))
    new = trial.rewrite(found.model, found.view, found.regions)
    monkeypatch.setattr(serial, "LARGEST_MESSAGE_BYTES", 10)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened: list[Path] = []

    def noted(path: Path, config: SessionConfig) -> Session:
        assert path.is_file()
        opened.append(path)
        return open_session(path, config)

    monkeypatch.setattr(trial, "open_session", noted)
    whole = compare_models(found.model, new, {"x": np.ones((2, 8), np.float32)}, CONFIG, rng(), budget_s=0.01)
    assert whole.pairs >= 9
    assert [opened.index(path) for path in opened] == [0, 1, 0, 1, 0]
    assert list(tmp_path.iterdir()) == []


# Sizes that are known only when a model runs.


def test_sizes_of_inputs_and_of_what_follows() -> None:
    g = builder()
    pooled = g.node("MaxPool", g.conv("x", (3, 4), (3, 3)), kernel_shape=[2, 2], strides=[2, 2])
    y = g.gemm(g.node("Flatten", g.node("GlobalAveragePool", pooled)), (4, 2))
    found = stages(g.model({"x": ["N", 3, "H", "W"]}, [y]))
    feeds = {"x": np.zeros((2, 3, 12, 10), np.float32)}
    dims = run_sizes(found.model, found.view, feeds, CONFIG)
    assert {name: dims[name] for name in "NHW"} == {"N": 2, "H": 12, "W": 10}
    symbols = {d for t in found.view.tensors.values() for d in t.shape or () if isinstance(d, str)}
    assert symbols <= dims.keys()


def test_sizes_of_a_model_that_does_not_run_are_left_open(caplog: pytest.LogCaptureFixture) -> None:
    g = builder()
    y = g.node("Relu", g.node("Reshape", "x", g.constant(np.array([-1, 7]))))
    found = stages(g.model({"x": ["N", 4]}, [y]))
    feeds = {"x": np.zeros((2, 4), np.float32)}
    assert run_sizes(found.model, found.view, feeds, CONFIG).get("N") == 2
    symbols = {d for t in found.view.tensors.values() for d in t.shape or () if isinstance(d, str)}
    assert (symbols == {"N"}) or "could not be found out" in caplog.text
