"""A scan decides what a full count decides, and looks at less."""

import re
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.activations.observed import is_flat
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.linearise import Support, Undecided, decide, linearise
from onnx_nepenthe.measure import Collect, Measurement, measure, runner
from onnx_nepenthe.measure.following import has_floor
from onnx_nepenthe.rectifiers import Rectifier, find_rectifiers
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources import Source, open_source

ACTIVATIONS = {
    "relu": Activation((0.0,), ((0.0, 0.0), (1.0, 0.0))),
    "relu6": Activation((0.0, 6.0), ((0.0, 0.0), (1.0, 0.0), (0.0, 6.0))),
    "jump below": Activation((0.0,), ((0.0, 0.0), (1.0, 1.0))),
    "jump above": Activation((0.0,), ((0.0, 0.0), (1.0, 1.0)), knot_above=(True,)),
    "curved": Activation((-6.0, 6.0), ((0.0, 0.0), None, (1.0, 0.0)), frozenset({0, 2})),
    "per channel": Activation((np.array([0.0, 1.0, -1.0]),), ((0.0, 0.0), (1.0, 0.0))),
    "no knots": Activation((), ((1.0, 0.0),)),
}


def make(batch: Any = "N", values: int = 2) -> ir.Model:
    """As many rectifiers as `values`, each of the input plus a constant."""
    nodes, weights = [], []
    for at in range(values):
        weights.append(numpy_helper.from_array(np.float32(at), f"c{at}"))
        nodes += [
            helper.make_node("Add", ["x", f"c{at}"], [f"z{at}"]),
            helper.make_node("Relu", [f"z{at}"], [f"y{at}"]),
        ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, (batch, 3, 2))],
        [helper.make_tensor_value_info(f"y{at}", 1, None) for at in range(values)],
        weights,
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return ir.from_proto(proto)


def rectifier(at: int, activation: Activation) -> Rectifier:
    return Rectifier(f"y{at}", f"r{at}", "Relu", f"z{at}", f"y{at}", activation, 1, 3, 14)


def both(
    x: Any, rectifiers: tuple[Rectifier, ...], batch: int, fixed: bool = False, **options: Any
) -> tuple[Measurement, Measurement]:
    model = make(batch if fixed else "N", len(rectifiers))
    source: Source = open_source({"x": x}, [view_from_model(model).tensors["x"]])
    scan, full = (
        measure(
            model, rectifiers, source, batch=batch, collect=Collect(scan=s), config=SessionConfig(threads=1), **options
        )
        for s in (True, False)
    )
    return scan, full


VALUES = st.sampled_from([-7.0, -1.0, 0.0, 0.5, 1.0, 6.0, 9.0])
"""On knots of every activation, beside them, and beyond."""
CHANNELS = st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    pools=CHANNELS,
    names=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=1, max_size=3),
    samples=st.integers(1, 9),
    batch=st.integers(1, 4),
    fixed=st.booleans(),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_scan_decides_as_a_full_count(
    pools: Any, names: list[str], samples: int, batch: int, fixed: bool, seed: int, data: st.DataObject
) -> None:
    """Every channel draws from its own few values, so that one regime, ties and both are all frequent."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.choice(pool, (samples, 2)) for pool in pools], axis=1).astype(np.float32)
    rectifiers = tuple(rectifier(at, ACTIVATIONS[name]) for at, name in enumerate(names))
    proved = {r.key: np.array(data.draw(st.lists(st.booleans(), min_size=3, max_size=3))) for r in rectifiers}
    scan, full = both(x, rectifiers, batch, fixed, proved=proved)
    for r in rectifiers:
        pieces = np.where(proved[r.key], 0, -1)
        quick, exact = (decide(r, pieces, "x", m.counts[r.key], Support(m.seen, m.partial)) for m in (scan, full))
        assert type(quick) is type(exact)
        assert flat_pieces(quick, r) == flat_pieces(exact, r)
        assert (scan.counts[r.key].observations <= full.counts[r.key].observations).all()
        if r.key not in scan.partial:
            np.testing.assert_array_equal(scan.counts[r.key].counts, full.counts[r.key].counts)
            np.testing.assert_array_equal(scan.counts[r.key].ties, full.counts[r.key].ties)
        if not isinstance(quick, Undecided) and not isinstance(exact, Undecided):
            assert quick.evidence == exact.evidence
            assert quick.pieces.tolist() == exact.pieces.tolist()
        # A channel that may be cut was seen as often as a full count sees it.
        flat = (np.array(flat_pieces(exact, r)) != -1) & ~proved[r.key]
        seen = [m.counts[r.key].observations[flat].tolist() for m in (scan, full)]
        assert seen[0] == seen[1]


def flat_pieces(found: Any, r: Rectifier) -> list[int]:
    """The pieces of constant channels, -1 for the others."""
    exact = np.array([p if p != -1 and r.activation.is_exact(p) else -1 for p in found.pieces.tolist()])
    return np.where(is_flat(r.activation, exact), exact, -1).tolist()


def test_what_is_not_partial_is_exact() -> None:
    x = np.ones((6, 3, 2), np.float32)
    scan, full = both(x, (rectifier(0, ACTIVATIONS["relu"]),), 2)
    assert scan.partial == frozenset()
    np.testing.assert_array_equal(scan.counts["y0"].counts, full.counts["y0"].counts)
    assert scan.counts["y0"].low.tolist() == [1.0] * 3
    assert scan.seen == {"y0": 6}


def test_a_scan_stops_reading_when_nothing_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3, 2)).astype(np.float32) * 9
    rectifiers = tuple(rectifier(at, ACTIVATIONS["relu"]) for at in range(2))
    scan, full = both(x, rectifiers, 10)
    assert (scan.samples, full.samples) == (10, 40)
    assert scan.partial == {"y0", "y1"}
    assert "the scan ended after 10 samples: every channel had changed regime" in scan.notes
    refusals = [
        linearise(rectifiers, {}, m.counts, Support(m.seen, m.partial)).undecided["y0"].refusal.reason
        for m in (scan, full)
    ]
    assert re.fullmatch(r"(at least [12]|3) of 3 channels change regime", refusals[0])
    assert refusals[1].startswith("3 of 3 channels change regime (entropy ")


def test_a_scan_follows_a_few_rectifiers_only() -> None:
    """z1 changes regime at once; z0 = x does not, in the last channel, which is off."""
    x = np.full((20, 3, 2), -1.5, np.float32)
    x[:, :2, 1] = 2
    x[:, 2] = -0.5
    opened: list[int] = []
    build = runner.build_probe

    def spy(*arguments: Any) -> Any:
        opened.append(len(arguments[2]))
        return build(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "build_probe", spy)
        both(x, tuple(rectifier(at, ACTIVATIONS["relu"]) for at in range(2)), 5)
    assert opened == [2, 1, 2]


def test_nan_leaves_a_rectifier_as_it_is() -> None:
    """inf - inf in the last batch; the batches before say ON."""
    x = np.full((6, 3, 2), 1.0, np.float32)
    x[4] = -3e38
    model = make()
    model.graph.initializers["c1"].const_value = ir.tensor(np.float32(np.inf), name="c1")
    node = next(n for n in model.graph if n.outputs[0].name == "z1")
    twice = ir.node("Mul", [node.inputs[0], ir.Value(name="big", const_value=ir.tensor(np.float32(2), name="big"))])
    twice.outputs[0].name = "twice"
    model.graph.register_initializer(twice.inputs[1])
    model.graph.insert_before(node, twice)
    node.replace_input_with(0, twice.outputs[0])
    source = open_source({"x": x}, [view_from_model(model).tensors["x"]])
    r = rectifier(1, ACTIVATIONS["relu"])
    found = [measure(model, (r,), source, batch=2, collect=Collect(scan=s)) for s in (True, False)]
    assert [m.counts["y1"].nonfinite for m in found] == [6, 6]
    assert {decide(r, np.full(3, -1), "", m.counts["y1"]).refusal.reason for m in found} == {
        "its input was NaN 6 times"
    }


def test_a_flip_rate_that_the_data_cannot_support_is_refused() -> None:
    x = np.ones((6, 3, 2), np.float32)
    r = rectifier(0, ACTIVATIONS["relu"])
    found, _ = both(x, (r,), 2)

    def decided(rate: float | None, proved: int = -1) -> Any:
        support = Support(found.seen, found.partial, rate)
        return decide(r, np.array([proved, 1, 1]), "why", found.counts["y0"], support)

    assert not isinstance(decided(None), Undecided)
    assert not isinstance(decided(0.5), Undecided)
    refused = decided(1e-4)
    assert isinstance(refused, Undecided)
    assert refused.refusal.reason == "its 6 samples support a flip rate of 5.0e-01 per channel (95 %), not 1.0e-04"
    assert refused.refusal.lift == "measure 30000 samples, or allow a higher --max-flip-rate"
    # What such data say is not used for single channels either, and what is proved needs no data.
    assert refused.pieces.tolist() == [-1, 1, 1]
    assert not isinstance(decided(1e-4, proved=1), Undecided)


def images(batch: Any = "N") -> ir.Model:
    """Relu and Clip(0, 6) of images."""
    limits = [numpy_helper.from_array(np.float32(value), name) for name, value in (("low", 0), ("high", 6))]
    nodes = [helper.make_node("Relu", ["x"], ["y0"]), helper.make_node("Clip", ["x", "low", "high"], ["y1"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, (batch, 3, 2, 1))],
        [helper.make_tensor_value_info(name, 1, None) for name in ("y0", "y1")],
        limits,
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return ir.from_proto(proto)


@settings(max_examples=40, deadline=None)
@example(pools=[[-7.0], [9.0, 6.0], [-7.0, 0.5]], samples=4, batch=1, fixed=False, seed=0)
@given(pools=CHANNELS, samples=st.integers(1, 9), batch=st.integers(1, 3), fixed=st.booleans(), seed=st.integers(0, 99))
def test_a_scan_of_images_decides_as_a_full_count(pools: Any, samples: int, batch: int, fixed: bool, seed: int) -> None:
    """After a change of regime the largest results are enough, and the operator keeps its fusion."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.choice(pool, (samples, 2, 1)) for pool in pools], axis=1).astype(np.float32)
    model = images(batch if fixed else "N")
    view = view_from_model(model)
    source = open_source({"x": x}, [view.tensors["x"]])
    rectifiers = find_rectifiers(view)[0]
    scan, full = (measure(model, rectifiers, source, batch=batch, collect=Collect(scan=s)) for s in (True, False))
    for r in rectifiers:
        quick, exact = (
            decide(r, np.full(3, -1), "", m.counts[r.key], Support(m.seen, m.partial)) for m in (scan, full)
        )
        assert type(quick) is type(exact)
        assert flat_pieces(quick, r) == flat_pieces(exact, r)
        flat = np.array(flat_pieces(exact, r)) != -1
        seen = [m.counts[r.key].observations[flat].tolist() for m in (scan, full)]
        assert seen[0] == seen[1]


@pytest.mark.parametrize("broken", [False, True])
def test_channels_that_are_off_are_followed_by_their_results(broken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones((12, 3, 2, 1), np.float32)
    x[:, :, 0] = x[:, 1] = -1
    x[-1, 1, 0, 0] = 1e-40 if broken else -0.0
    looked: list[list[str]] = []
    build = runner.build_probe

    def spy(*arguments: Any) -> Any:
        built = build(*arguments)
        looked.append(sorted({node.op_type for node in built.model.graph}))
        return built

    monkeypatch.setattr(runner, "build_probe", spy)
    model = images()
    view = view_from_model(model)
    rectifiers = find_rectifiers(view)[0]
    found = measure(model, rectifiers, open_source({"x": x}, [view.tensors["x"]]), batch=4, collect=Collect(scan=True))
    assert len(looked) == 2
    assert looked[1] == ["Clip", "GlobalMaxPool", "Relu"]
    for r in rectifiers:
        pieces = decide(r, np.full(3, -1), "", found.counts[r.key], Support(found.seen, found.partial)).pieces
        assert pieces.tolist() == [-1, -1 if broken else 0, -1]
        assert found.counts[r.key].counts[0, 1] == (16 if broken else 24)


@pytest.mark.parametrize(
    ("name", "floor"), [("relu", True), ("relu6", True), ("jump below", False), ("curved", False), ("no knots", False)]
)
def test_a_floor_is_where_results_tell_the_first_regime(name: str, floor: bool) -> None:
    assert has_floor(ACTIVATIONS[name]) is floor
