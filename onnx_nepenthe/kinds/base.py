"""What a kind of substitute is that needs more than one fitted operator: one file, one registration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnx_nepenthe.fit import Fitter, Fitting
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.plan import Choice
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.registry import Registry


@dataclass(frozen=True)
class Offer:
    """A possible substitute of a kind.

    Attributes:
        kind: its name in `KINDS`.
        entry: the value where the part begins.
        reads: values that a fit takes, joined along `axis` in this order.
        target: the value that is computed anew.
        axis: of the channels.
        ops: keys of the operators that fall away or change.
        rectifiers: keys of the rectifiers among them that are gone afterwards.
        key: numbers that its time depends on besides the operators.
        detail: what the kind knows about it.
    """

    kind: str
    entry: str
    reads: tuple[str, ...]
    target: str
    axis: int
    ops: frozenset[str]
    rectifiers: frozenset[str]
    key: tuple[int, ...]
    detail: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Seen:
    """What a kind looks for offers in.

    Attributes:
        view: the graph.
        rectifiers: those that are not linear already.
        dims: sizes of symbolic axes.
        counts: rectifier → its regimes on the data, where they were measured.
        lines: rectifier → its lines, for those that are linear already.
    """

    view: GraphView
    rectifiers: tuple[Rectifier, ...]
    dims: Mapping[str, int]
    counts: Mapping[str, RegimeCounts] = field(default_factory=dict)
    lines: Mapping[str, Decision] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """How substitutes of one kind are found, fitted and made.

    Attributes:
        offers: all there are in a graph.
        fitter: what adds up the statistics of one; its `add` takes the joined values and the target's.
        choices: the rewrites that make a fitted one.
    """

    offers: Callable[[Seen], Iterator[Offer]]
    fitter: Callable[[Offer, np.random.Generator], Fitter]
    choices: Callable[[Offer, GraphView, Fitting], tuple[Choice, ...]]


KINDS: Registry[Kind] = Registry("kind of substitute")
"""Name, as reports show it → kind."""
RARE = 1e-3
"""A channel that is ON less often than this is nearly always OFF."""


def rarely_on(seen: Seen, rectifier: Rectifier) -> int:
    """How many channels are (nearly) always in a flat piece; 0 where nothing was measured."""
    counts = seen.counts.get(rectifier.key)
    if counts is None or rectifier.channels is None or counts.counts.shape[1] != rectifier.channels:
        return 0
    flat = [piece for piece, name in enumerate(rectifier.activation.names) if name == "OFF"]
    taken = counts.with_ties("below")
    off = taken[flat].sum(axis=0) if flat else np.zeros(rectifier.channels)
    return int((off >= (1.0 - RARE) * np.maximum(1, counts.observations)).sum())
