"""Fewer channels between two convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe.affine.maps import Conv
from onnx_nepenthe.fit import Fitting
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.plan import Region
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.session import open_session
from onnx_nepenthe.slimming import SlimFitter, choices, slims
from tests.helpers.build import Builder

CHANNELS, DEAD = 16, 8


def network(channels: int = CHANNELS) -> onnx.ModelProto:
    """Conv, Relu, Conv; half the channels between them are always 0."""
    b = Builder(np.random.default_rng(0))
    bias = np.array([1.0] * (channels - DEAD) + [-1000.0] * DEAD, np.float32)
    z = b.node("Conv", "x", b.constant(b.random(channels, 3, 3, 3)), b.constant(bias), pads=[1, 1, 1, 1])
    weight, last = b.constant(b.random(4, channels, 3, 3)), b.constant(b.random(4))
    out = b.node("Conv", b.node("Relu", z), weight, last, pads=[1, 1, 1, 1])
    return b.model({"x": ("N", 3, 8, 8)}, [b.node("Sigmoid", out)])


def fitted(view: GraphView, model: ir.Model, x: np.ndarray) -> tuple[Fitting, Region]:
    rectifiers, _ = find_rectifiers(view)
    ((slim, ops), *_) = [found for found in slims(view, rectifiers) if found[0].keep == CHANNELS - DEAD]
    assert len(ops) == 3
    second = view.op_of(slim.target)
    assert second is not None
    one = SlimFitter(second, slim.keep, np.random.default_rng(0))
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    copy.graph.outputs[:] = [values[slim.hidden], values[slim.target]]
    one.add(*open_session(copy).run({"x": x}))
    fitting = one.solve()
    return fitting, Region(slim.target, choices(view, slim, fitting, ()), 0.0)


def test_channels_that_do_nothing_go_and_nothing_changes() -> None:
    model = ir.from_proto(network())
    view = view_from_model(model)
    x = np.random.default_rng(1).standard_normal((20, 3, 8, 8)).astype(np.float32)
    fitting, region = fitted(view, model, x)
    assert fitting.kept == tuple(range(CHANNELS - DEAD))
    assert isinstance(fitting.core, Conv)
    assert fitting.core.in_channels == CHANNELS - DEAD
    assert fitting.residual < 1e-4
    slim = rewrite(model, view, [region])
    onnx.checker.check_model(ir.to_proto(slim), full_check=True)
    before, after = (open_session(m).run({"x": x})[0] for m in (model, slim))
    np.testing.assert_allclose(before, after, atol=0.05)
    weights = [op.constant(1).shape for op in view_from_model(slim).ops if op.op_type == "Conv"]  # type: ignore[union-attr]
    assert weights == [(8, 3, 3, 3), (4, 8, 3, 3)]


def test_only_pairs_that_nobody_else_reads() -> None:
    path = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"
    view = view_from_model(ir.from_proto(onnx.load(path)))
    for slim, ops in slims(view, find_rectifiers(view)[0]):
        assert {slim.first, slim.second} < ops
        assert len(view.consumers[slim.hidden]) == 1
        assert not view.is_pinned(slim.hidden)
        assert slim.keep % 8 == 0


def test_channels_that_are_nearly_always_off_are_one_of_the_numbers() -> None:
    view = view_from_model(ir.from_proto(network()))
    rectifiers, _ = find_rectifiers(view)
    assert [slim.keep for slim, _ in slims(view, rectifiers, {rectifiers[0].key: CHANNELS})] == [8]
    wide = view_from_model(ir.from_proto(network(64)))
    rectifiers, _ = find_rectifiers(wide)
    found = [slim.keep for slim, _ in slims(wide, rectifiers, {rectifiers[0].key: 9})]
    assert found == [32, 48, 56]
