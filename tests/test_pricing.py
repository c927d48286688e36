"""Single scores, and plans made of them; times are faked, so that nothing here depends on the machine."""

from __future__ import annotations

import pytest

from onnx_nepenthe import budget, pricing
from onnx_nepenthe.budget import Buyer, Plan
from onnx_nepenthe.pricing import price
from onnx_nepenthe.scale import Scale
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.workshop import Workshop
from tests.helpers.shops import residual_network, shop_of

MODEL_MS = 20.0


@pytest.fixture(scope="module")
def shop() -> Workshop:
    found = shop_of(residual_network(3))
    found.original_scores("tuning")
    return found


@pytest.fixture(autouse=True)
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workshop, "gain_ms", gain)


def gain(self: Workshop, substitute: Substitute) -> float:
    """A convolution or more that goes saves a millisecond each; one that comes costs half of one."""
    views = (self.findings.view.op_of(key) for key in substitute.ops)
    gone = sum(op is not None and op.op_type == "Conv" for op in views)
    return gone - (0.5 if substitute.kind.startswith("conv") else 0.1)


@pytest.fixture(scope="module")
def priced(shop: Workshop) -> Buyer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workshop, "gain_ms", gain)
        return Buyer(shop, *price(shop, MODEL_MS))


@pytest.fixture
def buyer(priced: Buyer) -> Buyer:
    return Buyer(priced.shop, priced.priced, Scale(list(priced.scale._seen)))


def test_what_saves_little_or_fits_badly_is_not_scored(buyer: Buyer, shop: Workshop) -> None:
    kinds = {one.made.substitute.kind for one in buyer.priced}
    assert "line" not in kinds, "no convolution goes"
    assert {"scale", "conv1", "conv3"} <= kinds
    assert "identity" not in kinds, "it leaves too much"
    assert all(one.gain_ms > pricing.SMALLEST_SHARE * MODEL_MS for one in buyer.priced)
    assert all(one.made.fitting.residual <= pricing.WORST_RESIDUAL for one in buyer.priced)
    assert len(buyer.priced) < len(shop.substitutes)


def test_a_larger_convolution_costs_less_alone(buyer: Buyer) -> None:
    drops = {
        one.made.substitute.kind: one.drop
        for one in buyer.priced
        if (one.made.substitute.source, one.made.substitute.target) == ("block0", "sum1")
    }
    assert drops["conv3"] < drops["conv1"]


def test_plans_keep_to_the_budget_and_more_buys_more(buyer: Buyer) -> None:
    plans = [buyer.within(points) for points in (0.05, 5.0, 12.0)]
    assert plans[0] is None
    small, large = plans[1:]
    assert small is not None
    assert large is not None
    assert buyer.points(small) <= 5.0
    assert buyer.points(large) <= 12.0
    assert small.gain_ms < large.gain_ms
    chosen = [buyer.priced[at].made.substitute for at in large.chosen]
    assert not any(a.overlaps(b) for a in chosen for b in chosen if a is not b)


def test_a_plan_is_made_once(buyer: Buyer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = buyer.plan((1, 0)) if not _overlap(buyer, 0, 1) else buyer.plan((0,))
    monkeypatch.setattr(budget, "sweep", lambda *rest: pytest.fail("made again"))
    assert buyer.plan(first.chosen) is first


def _overlap(buyer: Buyer, *at: int) -> bool:
    first, second = (buyer.priced[one].made.substitute for one in at)
    return first.overlaps(second)


def test_backing_off_gets_cheaper_until_nothing_is_left(buyer: Buyer) -> None:
    plan = buyer.within(12.0)
    gains: list[float] = []
    while plan is not None:
        gains.append(plan.gain_ms)
        plan = buyer.cheaper(plan)
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == len(set(gains)) > 1


def test_what_cost_far_too_much_is_cut_down_further(buyer: Buyer) -> None:
    plan = buyer.within(12.0)
    assert plan is not None
    little, much = buyer.cheaper(plan, 1.0), buyer.cheaper(plan, 9.0)
    assert little is not None
    assert much is None or much.gain_ms < little.gain_ms
    assert much is None or buyer.points(much) <= buyer.points(plan) / 2


def test_a_gain_is_reached_or_there_is_no_plan(buyer: Buyer) -> None:
    plan = buyer.for_gain(3.0)
    assert plan is not None
    assert plan.gain_ms >= 3.0
    assert buyer.for_gain(1000.0) is None


def test_spending_names_what_was_bought_apart_from_what_was_mended(buyer: Buyer) -> None:
    plan = buyer.within(5.0)
    assert isinstance(plan, Plan)
    spending = buyer.spending(plan)
    assert len(spending.bought) == len(plan.chosen)
    assert {one.substitute.kind for one in spending.refits} == {"refit"}
    assert len(spending.made) == len(plan.made)
    assert spending.drop == plan.loss.drop
