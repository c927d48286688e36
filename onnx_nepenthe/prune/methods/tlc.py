"""TLC (Till the Layers Collapse): batch norms tell which channels are ON and OFF, validation data which layer goes.

Source: arXiv 2412.15077, ALGORITHMS.md §7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, inf, sqrt
from typing import Annotated

import numpy as np

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.records import BoolArray, Layer, Note, Proposal
from onnx_nepenthe.regimes import FloatArray


@dataclass(frozen=True)
class TlcConfig:
    """Options of TLC."""

    per_round: Annotated[int, "activations that go per round"] = 1
    guard: Annotated[bool, "no layer has all its channels set to zero (not in the paper)"] = True

    def __post_init__(self) -> None:
        require(self.per_round >= 1, f"per_round is {self.per_round}; give 1 or more")


def share_off(gamma: FloatArray, beta: FloatArray) -> FloatArray:
    """P(OFF) = Φ(-β / |γ|), float64 (channels,): what a normal z of mean β and deviation |γ| spends below 0.

    A channel without deviation is OFF unless its mean is above 0.

    >>> share_off(np.array([1.0, -1.0, 0.0]), np.array([0.0, 50.0, -1.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    size = np.abs(gamma)
    still = np.where(beta > 0, -inf, inf)
    at = np.divide(-beta, size, out=still, where=size > 0)
    return np.array([erfc(-value / sqrt(2)) / 2 for value in at.tolist()])


def propose(config: TlcConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """The layers whose loss changes least: channels that are rather OFF become 0, the others the identity."""
    found = {layer.site.name: _off(layer) for layer in layers if _is_candidate(layer)}
    notes = [Note(layer.site.name, "no batch norm before it") for layer in layers if _lacks_norm(layer)]
    if config.guard:
        dead = [name for name, off in found.items() if off.all()]
        notes += [Note(name, "all its channels would be 0: it stays (guard)") for name in dead]
        found = {name: off for name, off in found.items() if name not in dead}
    change = {layer.site.name: layer.sensitivity for layer in layers if layer.sensitivity is not None}
    chosen = sorted(found, key=lambda name: change[name])[: config.per_round]
    done = "" if chosen else "no activation with a batch norm and a known sensitivity is left"
    off = {name: found[name] for name in chosen if found[name].any()}
    return Proposal(linear=tuple(chosen), line="identity", off=off, notes=tuple(notes), done=done)


def _is_candidate(layer: Layer) -> bool:
    return not layer.is_linear and layer.gamma is not None and layer.sensitivity is not None


def _lacks_norm(layer: Layer) -> bool:
    return not layer.is_linear and layer.gamma is None


def _off(layer: Layer) -> BoolArray:
    """bool (channels,): β <= 0, which is P(OFF) >= 1/2."""
    if layer.gamma is None or layer.beta is None:
        return np.zeros(layer.site.channels, bool)
    rather: BoolArray = share_off(layer.gamma, layer.beta) >= 0.5
    return rather


METHODS.register("tlc")(
    Method(
        name="tlc",
        summary="batch norms tell which channels are ON and OFF; the layer that costs least on validation data goes",
        paper="arXiv 2412.15077",
        config=TlcConfig,
        propose=propose,
        needs=frozenset({"sensitivity"}),
        off=_off,
    )
)
