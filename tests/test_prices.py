"""Analytic prices: what `--latency off` and `--latency macs` rank operators by."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.prices import CostModel, EveryExact, MultiplyAdds, kept_cost
from onnx_nepenthe.regions import Atlas
from tests.helpers.build import Builder, Dims
from tests.helpers.priced import atlas_of


def builder() -> Builder:
    return Builder(np.random.default_rng(0))


def single(costs: CostModel, atlas: Atlas, name: str, source: str = "x") -> float:
    form = atlas.form(source, name)
    assert isinstance(form, Form)
    return costs.single(form, name)


def keep(costs: CostModel, atlas: Atlas, name: str) -> float:
    value = atlas.affine[name]
    form = atlas.form(value.operands[0], name)
    return costs.keep(value, form if isinstance(form, Form) else None)


@pytest.mark.parametrize("dims", [[2, 4, 8, 8], ["N", 4, "H", "W"]], ids=["known", "any"])
def test_multiply_adds_are_counted(dims: Dims) -> None:
    g = builder()
    y = g.conv("x", (4, 6), (3, 3), pads=1)
    atlas = atlas_of(g.model({"x": dims}, [y]))
    costs = MultiplyAdds({"N": 2, "H": 8, "W": 8}, element=0, node=0)
    assert keep(costs, atlas, y) == single(costs, atlas, y) == 2 * 6 * 8 * 8 * 4 * 9
    assert keep(MultiplyAdds({"N": 2, "H": 8, "W": 8}, element=0, node=7), atlas, y) == 27648 + 7


def test_elementwise_operators_are_priced_by_what_they_write() -> None:
    g = builder()
    y = g.node("Mul", "x", g.constant(g.random(4, 1, 1)))
    atlas = atlas_of(g.model({"x": [2, 4, 8, 8]}, [y]))
    assert keep(MultiplyAdds({}, element=1, node=0), atlas, y) == 2 * 4 * 8 * 8


def test_sums_have_no_form_and_are_priced_by_what_they_write() -> None:
    g = builder()
    y = g.node("Add", g.gemm("x", (4, 4)), "x")
    atlas = atlas_of(g.model({"x": [2, 4]}, [y]))
    cost = kept_cost(atlas.affine[y], None, {})
    assert (cost.macs, cost.elements, cost.weighted, cost.nodes) == (0, 8, 0, 1)


def test_a_kept_rectifier_is_an_elementwise_operator_whatever_its_line() -> None:
    g = builder()
    y = g.gemm("x", (4, 4))
    value = atlas_of(g.model({"x": [2, 4]}, [y])).affine[y]
    object.__setattr__(value, "rectifier", True)
    cost = kept_cost(value, None, {})
    assert (cost.elements, cost.weighted, cost.nodes) == (8, 0, 1)


def test_off_takes_as_few_weighted_operators_as_possible_then_as_few_operators() -> None:
    g = builder()
    a = g.conv("x", (4, 64), (1, 1))
    y = g.conv(a, (64, 64), (3, 3))
    z = g.node("Mul", y, g.constant(g.random(64, 1, 1)))
    atlas = atlas_of(g.model({"x": [1, 4, 8, 8]}, [z]))
    costs = EveryExact({})
    assert single(costs, atlas, z) < keep(costs, atlas, a) + keep(costs, atlas, y)
    assert keep(costs, atlas, z) < keep(costs, atlas, a) / 100


def test_off_takes_a_border_for_less_than_an_operator() -> None:
    g = builder()
    a = g.conv("x", (4, 4), (1, 1))
    y = g.conv(a, (4, 4), (3, 3), pads=1)
    atlas = atlas_of(g.model({"x": [1, 4, 8, 8]}, [y]))
    plain = keep(EveryExact({}), atlas, y)
    bordered = single(EveryExact({}), atlas, y)
    assert plain < bordered < plain + 1e3
    assert bordered < plain + keep(EveryExact({}), atlas, a)


def test_off_decides_ties_by_multiply_adds() -> None:
    g = builder()
    narrow, wide = g.gemm("x", (4, 4)), g.gemm("x", (4, 900))
    atlas = atlas_of(g.model({"x": [2, 4]}, [narrow, wide]))
    assert single(EveryExact({}), atlas, narrow) < single(EveryExact({}), atlas, wide)
    assert single(EveryExact({}), atlas, wide) - single(EveryExact({}), atlas, narrow) < 1
