"""Whole networks stay what they compute; tools/fuzz_networks.py runs as many as one likes."""

from __future__ import annotations

import pytest

from tests.helpers.check_networks import Tally, check_network
from tests.helpers.check_order import OTHERS, check_order
from tests.helpers.forcing import PIECES
from tests.helpers.networks import ARCHITECTURES, draw_network

SEEDS = (0, 1)
LATENCIES = ("off", "macs")


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_computes_the_same_and_every_forced_rectifier_is_gone_or_explained(
    name: str, seed: int, latency: str
) -> None:
    tally = Tally()
    check_network(draw_network(name, seed), latency, tally)
    assert tally.counts[name, "graphs"] == 1


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_tools_come_before_and_after(name: str, other: str) -> None:
    check_order(draw_network(name, 2, opset=13), OTHERS[other])


def test_networks_have_rectifiers_of_every_kind_forced_in_every_way() -> None:
    drawn = [draw_network(name, seed) for name in ARCHITECTURES for seed in range(4)]
    assert {how for network in drawn for how in network.forced.values()} == {"on", "off", "mixed"}
    assert {kind for network in drawn for kind in network.kinds.values()} == set(PIECES)
    assert all(any(network.forced for network in drawn if network.name == name) for name in ARCHITECTURES)
