"""What every kind of substitute keeps: where the network is what the kind can say, nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.snippet import with_outputs
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.kinds import KINDS, Offer, Seen
from onnx_nepenthe.plan import Region
from onnx_nepenthe.recipe import Recipe, read_recipe, text_of
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.session import open_session
from onnx_nepenthe.steps import Step
from tests.helpers.build import Builder

Array = npt.NDArray[Any]
WIDTH, STAY = 32, 8
ON, OFF = 300.0, -300.0


@dataclass(frozen=True)
class Case:
    """A network that the kind can say exactly, and what the offer of it looks like."""

    kind: str
    model: Callable[[], onnx.ModelProto]
    shape: tuple[int, ...]
    key: tuple[int, ...]


def bias(rest: float) -> Array:
    """Channels that change sides, among those that never do."""
    return np.where(np.arange(WIDTH) % (WIDTH // STAY) == 0, 0.0, rest).astype(np.float32)


def mlp(rest: float) -> onnx.ModelProto:
    b = Builder(np.random.default_rng(0))
    hidden = b.node("Gemm", "x", b.constant(b.random(WIDTH, 6)), b.constant(bias(rest)), transB=1)
    out = b.node("Gemm", b.node("Relu", hidden), b.constant(b.random(WIDTH, 5)), b.constant(b.random(5)))
    return b.model({"x": ("N", 6)}, [b.node("Sigmoid", out)])


def tokens(rest: float) -> onnx.ModelProto:
    """MatMul, Add, the six operators of a GELU, MatMul, Add, and a skip around it all."""
    b = Builder(np.random.default_rng(1))
    z = b.node("Add", b.node("MatMul", "x", b.constant(b.random(6, WIDTH))), b.constant(bias(rest)))
    erf = b.node("Erf", b.node("Div", z, b.constant(float(np.sqrt(2.0)))))
    gelu = b.node("Mul", b.node("Mul", z, b.node("Add", erf, b.constant(1.0))), b.constant(0.5))
    y = b.node("Add", b.node("MatMul", gelu, b.constant(b.random(WIDTH, 6))), b.constant(b.random(6)))
    return b.model({"x": ("N", 4, 6)}, [b.node("Add", "x", y)])


def pointwise(rest: float) -> onnx.ModelProto:
    b = Builder(np.random.default_rng(2))
    z = b.node("Conv", "x", b.constant(b.random(WIDTH, 6, 1, 1)), b.constant(bias(rest)))
    return b.model({"x": ("N", 6, 3, 3)}, [b.node("Sigmoid", b.conv(b.node("Relu", z), (WIDTH, 5), (1, 1)))])


def gated() -> onnx.ModelProto:
    """Squeeze-and-excitation whose excitation does not depend on what is squeezed."""
    b = Builder(np.random.default_rng(3))
    x = b.conv("x", (3, 8), (3, 3), pads=1)
    squeezed = b.node("Relu", b.conv(b.node("GlobalAveragePool", x), (8, 4), (1, 1)))
    weight, last = b.constant(np.zeros((8, 4, 1, 1), np.float32)), b.constant(b.random(8))
    gate = b.node("Sigmoid", b.node("Conv", squeezed, weight, last))
    return b.model({"x": ("N", 3, 6, 6)}, [b.conv(b.node("Mul", gate, x), (8, 4), (3, 3))])


def padded() -> onnx.ModelProto:
    """3x3 and, with a stride, 3x3, both padded; the ring is small as the first has next to nothing in outer taps."""
    b = Builder(np.random.default_rng(4))
    weight = b.random(8, 3, 3, 3)
    for outer in (0, 2):
        weight[:, :, outer] *= 1e-3
        weight[:, :, :, outer] *= 1e-3
    x = b.node("Conv", "x", b.constant(weight), b.constant(np.zeros(8, np.float32)), pads=[1, 1, 1, 1])
    return b.model({"x": ("N", 3, 8, 8)}, [b.node("Relu", b.conv(x, (8, 8), (3, 3), pads=1, strides=[2, 2]))])


CASES = [
    Case("bypass", lambda: mlp(ON), (64, 6), (STAY,)),
    Case("bypass", lambda: tokens(30.0), (64, 4, 6), (STAY,)),
    Case("bypass", lambda: pointwise(ON), (64, 6, 3, 3), (STAY,)),
    Case("narrow", lambda: mlp(OFF), (64, 6), (STAY,)),
    Case("narrow", lambda: tokens(-30.0), (64, 4, 6), (STAY,)),
    Case("narrow", lambda: pointwise(OFF), (64, 6, 3, 3), (STAY,)),
    Case("gate", gated, (64, 3, 6, 6), (8,)),
    Case("border", padded, (16, 3, 8, 8), (5, 5, 1)),
]


def seen(model: ir.Model, x: Array) -> Seen:
    """With what was counted: which channels are OFF."""
    view = view_from_model(model)
    rectifiers, _ = find_rectifiers(view)
    counts = {}
    for rectifier in rectifiers:
        (z,) = open_session(with_outputs(model, [rectifier.operand])).run({"x": x})
        z = np.moveaxis(z, rectifier.axis or 0, -1).reshape(-1, z.shape[rectifier.axis or 0])
        pieces = np.zeros((rectifier.activation.regimes, z.shape[1]), np.int64)
        pieces[0], pieces[-1] = (z < 0).sum(axis=0), (z > 0).sum(axis=0)
        ties = np.zeros((len(pieces) - 1, z.shape[1]), np.int64)
        counts[rectifier.key] = RegimeCounts(pieces, ties, z.min(axis=0), z.max(axis=0))
    return Seen(view, rectifiers, {"N": 1}, counts)


def region_of(offer: Offer, model: ir.Model, view: GraphView, x: Array) -> Region:
    names = [*offer.reads, offer.target]
    *read, target = open_session(with_outputs(model, names)).run({"x": x})
    fitter = KINDS[offer.kind].fitter(offer, np.random.default_rng(0))
    for half in (slice(None, None, 2), slice(1, None, 2)):
        fitter.add(np.concatenate([values[half] for values in read], axis=offer.axis), target[half])
    fitting = fitter.solve()
    assert fitting.residual < 1e-4
    return Region(offer.target, KINDS[offer.kind].choices(offer, view, fitting), 0.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_what_a_kind_can_say_it_says(case: Case, tmp_path: Path) -> None:
    model = ir.from_proto(case.model())
    x = np.random.default_rng(5).standard_normal(case.shape).astype(np.float32)
    found = seen(model, x)
    (offer,) = [offer for offer in KINDS[case.kind].offers(found) if offer.key == case.key]
    region = region_of(offer, model, found.view, x)
    other = rewrite(model, found.view, [region])
    onnx.checker.check_model(ir.to_proto(other), full_check=True)
    new = np.random.default_rng(6).standard_normal(case.shape).astype(np.float32)
    before, after = (open_session(m).run({"x": new})[0] for m in (model, other))
    np.testing.assert_allclose(before, after, atol=0.02 * np.abs(before).max())
    path = tmp_path / "plan.json"
    path.write_text(text_of(Recipe("a", "b", False, (Step(regions=(region,)),), {})))
    again = rewrite(model, found.view, read_recipe(path).steps[0].regions)
    assert ir.to_proto(again).SerializeToString(deterministic=True) == ir.to_proto(other).SerializeToString(
        deterministic=True
    )


def test_every_kind_has_a_case() -> None:
    assert set(KINDS) == {case.kind for case in CASES}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_offered_that_somebody_else_reads(kind: str) -> None:
    for case in CASES:
        proto = case.model()
        view = view_from_model(ir.from_proto(proto))
        rectifiers, _ = find_rectifiers(view)
        inside = [value for op in view.ops for value in op.outputs if value not in view.outputs]
        for offer in KINDS[kind].offers(Seen(view, rectifiers, {"N": 1})):
            assert offer.entry not in offer.ops
            assert offer.target in {name for key in offer.ops for name in view.op_of(key).outputs}  # type: ignore[union-attr]
            between = [name for name in inside if view.op_of(name).key in offer.ops and name != offer.target]  # type: ignore[union-attr]
            for name in between:
                shown = onnx.ModelProto.FromString(proto.SerializeToString())
                shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
                other = view_from_model(ir.from_proto(onnx.shape_inference.infer_shapes(shown)))
                found = KINDS[kind].offers(Seen(other, find_rectifiers(other)[0], {"N": 1}))
                assert all(name not in {n for k in o.ops for n in other.op_of(k).outputs} - {o.target} for o in found)  # type: ignore[union-attr]


def test_channels_with_slopes_of_their_own_are_left() -> None:
    b = Builder(np.random.default_rng(0))
    slopes = b.constant(b.positive(WIDTH))
    model = b.model({"x": ("N", 6)}, [b.gemm(b.node("PRelu", b.gemm("x", (6, WIDTH)), slopes), (WIDTH, 5))])
    view = view_from_model(ir.from_proto(model))
    found = Seen(view, find_rectifiers(view)[0], {"N": 1})
    assert [offer for kind in ("bypass", "narrow") for offer in KINDS[kind].offers(found)] == []


def test_what_saves_no_work_is_not_offered() -> None:
    b = Builder(np.random.default_rng(0))
    model = b.model({"x": ("N", 64)}, [b.gemm(b.node("Relu", b.gemm("x", (64, 32))), (32, 64))])
    view = view_from_model(ir.from_proto(model))
    assert list(KINDS["bypass"].offers(Seen(view, find_rectifiers(view)[0], {"N": 1}))) == []


def test_a_ring_is_priced_and_the_inside_is_exact() -> None:
    b = Builder(np.random.default_rng(4))
    x = b.conv("x", (3, 8), (3, 3), pads=1)
    model = ir.from_proto(b.model({"x": ("N", 3, 12, 12)}, [b.conv(x, (8, 4), (3, 3), pads=1, strides=[2, 2])]))
    data = np.random.default_rng(5).standard_normal((4, 3, 12, 12)).astype(np.float32)
    found = Seen(view_from_model(model), (), {"N": 1})
    (offer,) = KINDS["border"].offers(found)
    fitter = KINDS["border"].fitter(offer, np.random.default_rng(0))
    (before,) = open_session(model).run({"x": data})
    fitter.add(data, before)
    fitting = fitter.solve()
    assert 1e-4 < fitting.residual < 0.5
    region = Region(offer.target, KINDS["border"].choices(offer, found.view, fitting), 0.0)
    (after,) = open_session(rewrite(model, found.view, [region])).run({"x": data})
    np.testing.assert_allclose(before[:, :, 1:, 1:], after[:, :, 1:, 1:], atol=1e-5)
    assert np.abs(before - after).max() > 1e-3


def test_convolutions_that_would_cost_more_together_are_left() -> None:
    b = Builder(np.random.default_rng(4))
    model = b.model({"x": ("N", 8, 12, 12)}, [b.conv(b.conv("x", (8, 8), (3, 3), pads=1), (8, 8), (3, 3), pads=1)])
    assert list(KINDS["border"].offers(Seen(view_from_model(ir.from_proto(model)), (), {"N": 1}))) == []
