"""What comes behind a substitute is mended."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.graph.serial import digest
from onnx_nepenthe.scale import Loss
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.sweeping import Care, front, sweep
from onnx_nepenthe.workshop import Workshop
from tests.helpers.shops import residual_network, shop_of, substitute


@pytest.fixture(scope="module")
def shop() -> Workshop:
    found = shop_of(residual_network(3))
    found.original_scores("tuning")
    return found


def lost(shop: Workshop, chosen: list[Substitute], care: Care) -> Loss:
    made = sweep(shop, chosen, shop.tape("fitting", None), care)
    return shop.judge.loss(shop.build(made))


@pytest.mark.parametrize("kind", ["conv1", "conv3", "scale", "identity"])
def test_mending_brings_a_model_nearer(shop: Workshop, kind: str) -> None:
    chosen = [substitute(shop, "stem", "sum0", kind)]
    alone, mended = (lost(shop, chosen, Care(16.0, reach)).distance for reach in (0, None))
    assert mended < 0.95 * alone


def test_everything_behind_is_mended_and_nothing_else(shop: Workshop) -> None:
    chosen = [substitute(shop, "block0", "sum1", "conv3")]
    made = sweep(shop, chosen, shop.tape("fitting", 20), Care(16.0))
    refits = [one.substitute for one in made if one.substitute.site is not None]
    assert made[0].substitute is chosen[0]
    assert [refit.source for refit in refits] == ["block1", "inside2", shop.sites[-1].source]
    quick = sweep(shop, chosen, shop.tape("fitting", 20), Care(16.0, 1))
    assert [one.substitute.source for one in quick] == ["block0", "block1"]


def test_a_mended_model_has_its_rewrites_in_order_and_none_twice(shop: Workshop) -> None:
    chosen = [substitute(shop, "stem", "sum0", "conv1"), substitute(shop, "block1", "sum2", "identity")]
    made = sweep(shop, chosen, shop.tape("fitting", 20), Care(16.0))
    names = [region.name for region in shop.regions(made)]
    assert len(names) == len(set(names)) == len(made)
    assert names == sorted(names, key=shop.position)


def test_the_same_sweep_twice_gives_the_same_model(shop: Workshop) -> None:
    chosen = [substitute(shop, "stem", "sum0", "conv3")]
    first, second = (digest(shop.build(sweep(shop, chosen, shop.tape("fitting", 30), Care(16.0)))) for _ in range(2))
    assert first == second


def test_where_a_tape_is_kept_makes_no_difference(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [substitute(shop, "stem", "sum0", "conv3")]
    kept = sweep(shop, chosen, shop.tape("fitting", 30), Care(16.0))
    monkeypatch.setattr("onnx_nepenthe.tape.KEPT_BYTES", 0)
    anew = sweep(shop, chosen, shop.tape("fitting", 30), Care(16.0))
    for a, b in zip(kept, anew, strict=True):
        np.testing.assert_allclose(a.fitting.core.weight, b.fitting.core.weight, atol=1e-3)  # type: ignore[union-attr]


def test_both_convolutions_of_a_slim_pair_are_fitted_anew() -> None:
    shop = shop_of(residual_network(2, channels=16))
    shop.original_scores("tuning")
    slim = next(one for one in shop.substitutes if one.slim is not None and one.entry == "block0")
    made = sweep(shop, [substitute(shop, "stem", "sum0", "identity"), slim], shop.tape("fitting", 40), Care(16.0))
    assert slim.slim is not None
    first = next(one for one in made if one.substitute.target == slim.slim.operand)
    regions = {region.name: region for region in shop.regions(made)}
    assert slim.slim.operand not in regions, "it is made with the second"
    narrow = regions[slim.target].choices[0].form.core
    kept = list(next(one for one in made if one.substitute is slim).fitting.kept)
    np.testing.assert_array_equal(narrow.weight, first.fitting.core.weight[kept])  # type: ignore[union-attr]
    original = next(site.core for site in shop.sites if site.value == slim.slim.operand)
    assert np.abs(narrow.weight - original.weight[kept]).max() > 1e-3  # type: ignore[union-attr]
    assert shop.judge.loss(shop.build(made)).distance < 50


def test_the_front_is_behind_nothing_that_goes(shop: Workshop) -> None:
    one = substitute(shop, "block0", "sum1", "conv3")
    assert front(shop, ["block0"], [one]) == "block0"
    assert front(shop, ["block2"], [one]) == "block2"
    inside = shop.findings.view.op_of("inside1")
    assert inside is not None
    assert front(shop, ["inside1"], [one]) == "block0"
