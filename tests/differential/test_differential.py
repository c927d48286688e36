"""Ours, the optimisers and the version converter in any order, in every engine: the numbers stay, ours never raises.

tools/fuzz_networks.py --order does the same with as many networks as one likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import pytest

from tests.differential.engines import ENGINES, OTHERS, Feeds, ours, results
from tests.helpers.build import Array
from tests.helpers.compare import feeds_for
from tests.helpers.networks import draw_network
from tests.zoo import control, shapes, values, weights
from tests.zoo.specimen import operators_in

SIZES = {"N": 2, "H": 7, "W": 6, "T": 3}
RELATIVE = 5e-5
ROWS = {row.name: row for part in (control, shapes, values, weights) for row in part.specimens()}
GRAPHS = (
    *(
        "a dynamic batch",
        "automatic padding",
        "shared weights",
        "weights that are outputs",
        "an input that is an output",
    ),
    *("a rectifier of ten consumers", "If with captured weights, True", "Scan", "an omitted bound"),
)
NETWORKS = ("U-Net",)


def graph(name: str) -> tuple[onnx.ModelProto, Feeds]:
    if name in NETWORKS:
        drawn = draw_network(name, 3, opset=13)
        return drawn.model, {key: array[:2] for key, array in drawn.data.items()}
    row = ROWS[name]
    return row.model, row.feeds or feeds_for(row.model, np.random.default_rng(2), SIZES)


@dataclass(frozen=True, eq=False)
class Known:
    """A graph, what to feed it, what every engine makes of that, and what ours makes of the graph."""

    model: onnx.ModelProto
    feeds: Feeds
    wanted: Mapping[str, list[Array]]
    ours: onnx.ModelProto


@cache
def known(name: str) -> Known:
    model, feeds = graph(name)
    return Known(model, feeds, {engine: results(model, feeds, engine) for engine in ENGINES}, ours(model))


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", [*GRAPHS, *NETWORKS])
def test_every_order_in_every_engine(name: str, other: str) -> None:
    it = known(name)
    after = OTHERS[other](it.ours)
    for made in (after, ours(after), ours(OTHERS[other](it.model))):
        assert_equal_everywhere(made, it)


@pytest.mark.parametrize("name", [*GRAPHS, *NETWORKS])
def test_ours_in_every_engine(name: str) -> None:
    assert_equal_everywhere(known(name).ours, known(name))


def assert_equal_everywhere(model: onnx.ModelProto, it: Known) -> None:
    for engine in ENGINES:
        assert_equal(results(model, it.feeds, engine), it.wanted[engine])


def assert_equal(got: list[Array], want: list[Array]) -> None:
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0.0, atol=RELATIVE * float(np.abs(other).max(initial=1.0)))


@pytest.mark.parametrize("name", [*GRAPHS, *NETWORKS])
def test_engines_agree_with_each_other(name: str) -> None:
    first, *rest = known(name).wanted.values()
    for other in rest:
        assert_equal(other, first)


def test_ours_does_something_to_most_of_them() -> None:
    graphs = map(known, (*GRAPHS, *NETWORKS))
    assert sum(operators_in(it.ours) != operators_in(it.model) for it in graphs) >= 8
