"""Which operators can be fitted anew, and what they aim at."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.affine.maps import Conv, Dense, evaluate
from onnx_nepenthe.fit import PLAIN
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.refitting import Aim, RescaledFitter, Site, aim_of, bounds_of, downstream, site_fitter, sites
from tests.helpers.build import Builder
from tests.helpers.shops import residual_network


@pytest.fixture
def b() -> Builder:
    return Builder(np.random.default_rng(0))


def view_of(b: Builder, inputs: dict[str, tuple[int | str, ...]], *outputs: str) -> GraphView:
    return view_from_model(ir.from_proto(b.model(inputs, outputs)))


def test_convolutions_and_matrices_are_sites() -> None:
    view = view_from_model(ir.from_proto(residual_network(2)))
    found = sites(view)
    assert [type(site.core) for site in found] == [Conv] * 5 + [Dense]
    assert all(site.is_whole for site in found)
    assert found[0].source == "x"


def test_lines_behind_an_operator_belong_to_it() -> None:
    view = view_from_model(ir.from_proto(residual_network(1, normed=True)))
    found = sites(view)[2]
    assert len(found.ops) == 2
    assert view.op_of(found.value).op_type == "BatchNormalization"  # type: ignore[union-attr]


def test_a_matrix_and_its_bias_are_one_site(b: Builder) -> None:
    value = b.matmul("x", (4, 3), bias=True)
    view = view_of(b, {"x": ("N", 5, 4)}, b.node("Sigmoid", value))
    (site,) = sites(view)
    assert (site.value, len(site.ops)) == (value, 2)
    assert site.core.bias.any()


def test_shared_weights_and_pinned_values_are_left_alone(b: Builder) -> None:
    weight = b.constant(b.random(4, 4))
    first = b.node("MatMul", "x", weight)
    view = view_of(b, {"x": ("N", 4)}, b.node("MatMul", b.node("Relu", first), weight))
    assert sites(view) == ()
    b = Builder(np.random.default_rng(0))
    inner = b.matmul("x", (4, 4))
    view = view_of(b, {"x": ("N", 4)}, b.node("Add", inner, b.constant(b.random(4))), inner)
    assert [site.value for site in sites(view)] == [inner]


def test_grouped_operators_get_a_line_behind_them(b: Builder) -> None:
    value = b.conv("x", (4, 4), (3, 3), group=4, pads=1)
    view = view_of(b, {"x": ("N", 4, 6, 6)}, b.node("Relu", value))
    (site,) = sites(view)
    assert not site.is_whole
    fitter = site_fitter(site, np.random.default_rng(0), PLAIN)
    assert isinstance(fitter, RescaledFitter)
    x = np.random.default_rng(1).standard_normal((20, 4, 6, 6))
    made = evaluate(site.core, x)
    fitter.add(made, 2.0 * made + 1.0)
    np.testing.assert_allclose(evaluate(fitter.solve().core, x), 2.0 * made + 1.0, atol=1e-6)


@pytest.mark.parametrize("is_conv", [True, False])
def test_a_site_that_nothing_changes_keeps_its_weights(is_conv: bool) -> None:
    view = view_from_model(ir.from_proto(residual_network(1)))
    site = next(one for one in sites(view) if isinstance(one.core, Conv) == is_conv)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, 3, 6, 6) if is_conv else (64, 8)).astype(np.float32)
    fitter = site_fitter(site, rng, PLAIN)
    fitter.add(x, evaluate(site.core, x.astype(np.float64)).astype(np.float32))
    found = fitter.solve()
    np.testing.assert_allclose(found.core.weight, site.core.weight, atol=1e-3)  # type: ignore[union-attr]
    assert found.residual < 1e-6


def test_a_branch_aims_at_its_sum() -> None:
    view = view_from_model(ir.from_proto(residual_network(1)))
    rectifiers = find_rectifiers(view)[0]
    first, inner, last, head = sites(view)
    assert aim_of(view, first.value, rectifiers) == Aim(first.value, "", (0.0, np.inf))
    assert aim_of(view, inner.value, rectifiers) == Aim(inner.value, "", (0.0, np.inf))
    assert aim_of(view, last.value, rectifiers) == Aim("sum0", "stem", (0.0, np.inf))
    assert aim_of(view, head.value, rectifiers) == Aim(head.value)


def test_of_two_branches_only_the_later_one_aims_at_the_sum(b: Builder) -> None:
    shortcut = b.conv("x", (4, 4), (1, 1))
    branch = b.conv(b.node("Relu", b.conv("x", (4, 4), (1, 1))), (4, 4), (1, 1))
    total = b.node("Add", shortcut, branch)
    view = view_of(b, {"x": ("N", 4, 6, 6)}, b.node("LeakyRelu", total))
    rectifiers = find_rectifiers(view)[0]
    assert aim_of(view, shortcut, rectifiers) == Aim(shortcut)
    assert aim_of(view, branch, rectifiers) == Aim(total, shortcut)


def test_a_value_that_others_read_too_is_its_own_aim(b: Builder) -> None:
    value = b.conv("x", (4, 4), (1, 1))
    view = view_of(b, {"x": ("N", 4, 6, 6)}, b.node("Add", value, "x"), b.node("Sigmoid", value))
    assert aim_of(view, value, find_rectifiers(view)[0]) == Aim(value)


def test_bounds_are_the_flat_ends() -> None:
    assert bounds_of(Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))) == (0.0, np.inf)
    assert bounds_of(Activation(knots=(1.0,), lines=((1.0, 0.0), (0.0, 1.0)))) == (-np.inf, 1.0)
    assert bounds_of(Activation(knots=(), lines=((1.0, 0.0),))) is None
    assert bounds_of(Activation(knots=(np.zeros(2),), lines=((0.0, 0.0), (1.0, 0.0)), axis=1)) is None
    gelu = Activation(knots=(-3.0, 3.0), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))
    assert bounds_of(gelu) is None


def test_downstream_is_what_a_change_reaches() -> None:
    view = view_from_model(ir.from_proto(residual_network(2)))
    reached = downstream(view, ["block0"])
    assert "sum1" in reached
    assert not {"stem", "inside0", "sum0", "block0"} & reached


def test_a_site_is_compared_by_itself() -> None:
    view = view_from_model(ir.from_proto(residual_network(1)))
    one = sites(view)[0]
    assert one != Site(one.source, one.value, one.core, one.ops)
    assert len({one, one}) == 1
