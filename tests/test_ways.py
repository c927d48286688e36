"""Compositions that take long are looked at by their outline first; what is chosen does not depend on that."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from onnx_nepenthe import ways
from onnx_nepenthe.affine import compose
from onnx_nepenthe.affine.cost import form_cost
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.outline import Outline
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.plan import plan
from onnx_nepenthe.prices import CostModel, EveryExact, MultiplyAdds
from onnx_nepenthe.regions import Atlas
from tests.helpers.build import Builder
from tests.helpers.priced import MadeUp, atlas_of, random_atlas

DIMS = {"N": 2}


class Bounded(MadeUp):
    """Made-up prices; bounds that say nothing at all."""

    def floor(self, outline: Form, replaced: Sequence[str]) -> float:
        return 0.0


def random_layers(source: random.Random) -> Atlas:
    """Convolutions of all kinds, scales and shifts, something nonlinear now and then."""
    g = Builder(np.random.default_rng(source.randrange(1000)))
    value, channels, outputs = "x", 4, []
    for _ in range(source.randint(3, 9)):
        match source.randrange(6):
            case 0 | 1:
                out, groups = source.choice([2, 4, 8]), source.choice([1, 1, 2])
                kernel = source.choice([1, 1, 2, 3])
                pads = [source.choice([0, 0, 1])] * 4 if kernel > 1 else [0] * 4
                stride = [source.choice([1, 1, 2])] * 2
                size = (channels, out)
                value = g.conv(value, size, (kernel, kernel), pads=pads, strides=stride, group=groups)
                channels = out
            case 2:
                value = g.conv(value, (channels, channels), (1, 1), group=channels)
            case 3:
                value = g.node("Mul", value, g.constant(g.random(1, channels, 1, 1)))
            case 4:
                value = g.node("Add", value, g.constant(g.random(1, channels, 1, 1)))
            case _:
                value = g.node("Sigmoid", value) if source.random() < 0.3 else g.node("Identity", value)
    outputs.append(g.node("Sigmoid", value))
    return atlas_of(g.model({"x": ["N", 4, 40, 40]}, outputs))


def choices(atlas: Atlas, costs: CostModel) -> list[tuple[str, str, float]]:
    return [(c.value, c.source, region.gain) for region in plan(atlas, costs) for c in region.choices]


@pytest.mark.parametrize("costs", [EveryExact(DIMS), MultiplyAdds(DIMS)], ids=["every", "macs"])
def test_looking_at_outlines_changes_no_plan(costs: CostModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(40):
        eager = choices(random_layers(random.Random(seed)), costs)
        with monkeypatch.context() as patched:
            patched.setattr(ways, "LAZY_EFFORT", -1)
            assert choices(random_layers(random.Random(seed)), costs) == eager, seed


def test_bounds_that_say_nothing_cost_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(40):
        costs = Bounded(seed)
        eager = choices(random_atlas(random.Random(seed)), costs)
        with monkeypatch.context() as patched:
            patched.setattr(ways, "LAZY_EFFORT", -1)
            assert choices(random_atlas(random.Random(seed)), costs) == eager, seed


def test_outlines_have_the_cost_of_what_they_stand_for() -> None:
    seen = 0
    for seed in range(40):
        atlas = random_layers(random.Random(seed))
        for name in atlas.parents:
            for source in atlas.sources(name):
                outline, form = atlas.outline(source, name), atlas.form(source, name)
                if isinstance(outline, Refused):
                    assert isinstance(form, Refused), (seed, source, name)
                if isinstance(outline, Outline) and isinstance(form, Form):
                    seen += 1
                    found, real = form_cost(outline.form, DIMS), form_cost(form, DIMS)
                    assert (found.macs, found.weighted) == (real.macs, real.weighted), (seed, source, name)
                    assert (found.nodes, found.elements) <= (real.nodes, real.elements)
    assert seen > 200


def chain(length: int, kernel: int = 3, last: int = 16) -> Atlas:
    g, value = Builder(np.random.default_rng(0)), "x"
    for at in range(length):
        value = g.conv(value, (16, last if at == length - 1 else 16), (kernel, kernel))
    return atlas_of(g.model({"x": [1, 16, 64, 64]}, [g.node("Sigmoid", value)]))


class Counter:
    """How many convolutions are composed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self._real = 0, compose.compose_convs
        monkeypatch.setattr(compose, "compose_convs", self)
        monkeypatch.setattr(ways, "LAZY_EFFORT", 1)

    def __call__(self, *convs: object) -> object:
        self.calls += 1
        return self._real(*convs)


def test_hopeless_chains_are_not_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    assert plan(chain(8), MultiplyAdds({})) == ()
    assert counter.calls == 0


def test_what_is_taken_is_composed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    (region,) = plan(chain(8), EveryExact({}))
    (choice,) = region.choices
    assert choice.form.core.kernel == (17, 17)
    assert counter.calls == 7


def test_a_chain_that_shrinks_at_its_end_is_composed_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel out of sixteen is left: all of it in one convolution costs less."""
    Counter(monkeypatch)
    (region,) = plan(chain(4, last=1), MultiplyAdds({}))
    assert {choice.value for choice in region.choices} == {list(chain(4).parents)[-1]}
