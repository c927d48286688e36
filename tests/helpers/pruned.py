"""Layers as pruning methods see them, made of a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.prune.methods import Context
from onnx_nepenthe.prune.records import Layer, Site, SiteStatistics
from onnx_nepenthe.regimes import RegimeCounts

RELU = Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)))
SMOOTH = Activation((-5.3, 5.3), ((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))


def counts(*regimes: Sequence[int], ties: Sequence[int] | None = None, nonfinite: int = 0) -> RegimeCounts:
    """`counts([off, ...], [on, ...])`, one number a channel."""
    channels = len(regimes[0])
    tied = np.zeros((len(regimes) - 1, channels), np.int64)
    if ties is not None:
        tied[0] = ties
    return RegimeCounts(np.array(regimes, np.int64), tied, np.zeros(channels), np.ones(channels), nonfinite)


def layer(name: str, weight: npt.ArrayLike, seen: RegimeCounts | None = None, **changes: Any) -> Layer:
    """A layer fed by "<name>.feeder"; by default every neuron is ON half of the time and a skip goes around it.

    `changes` are fields of `Site`, `SiteStatistics` and `Layer`.
    """
    matrix = np.atleast_2d(np.asarray(weight, np.float64))
    rows = len(matrix)
    seen = counts([1] * rows, [1] * rows) if seen is None else seen
    site = Site(name, name, "Relu", RELU, 1, rows, feeder=f"{name}.feeder", has_bypass=True)
    made = Layer(site, matrix, np.ones(matrix.shape, bool), SiteStatistics(seen, samples=2))
    for part in ("site", "statistics"):
        record = getattr(made, part)
        own = {key: changes.pop(key) for key in list(changes) if key in record.__dataclass_fields__}
        made = replace(made, **{part: replace(record, **own)})
    made = replace(made, **changes)
    return replace(made, weight=made.weight * made.mask)


def context(number: int = 1) -> Context:
    """What a method knows in round `number`."""
    return Context(number, 10, np.random.default_rng(0))


def gone(one: Layer, masks: Any) -> int:
    """How many weights of a layer a proposal prunes."""
    mask = masks.get(one.site.feeder)
    return 0 if mask is None else one.remaining - int(np.count_nonzero(mask))
