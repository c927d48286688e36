"""Fewer channels between two matrix products: those (nearly) always OFF go, their means in the bias of the second.

The second product is fitted anew on the channels that stay. Half and a quarter of the channels are tried too, and go
by how little their spread, weighted by what reads them, is. Between convolutions `slimming` does this.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.fit import Fitter, Fitting
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds.base import KINDS, Kind, Offer, Seen, rarely_on
from onnx_nepenthe.kinds.joint import JointFitter
from onnx_nepenthe.kinds.pairs import LARGEST_SYSTEM, first_of, pair_of, pairs, rounded
from onnx_nepenthe.plan import Choice

NAME = "narrow"
SHARES = (0.5, 0.75)
"""Of the hidden channels, those that stay."""


def offers(seen: Seen) -> Iterator[Offer]:
    """One per pair and number of channels that stay."""
    for pair in pairs(seen):
        if pair.width > LARGEST_SYSTEM:
            continue
        awake = pair.width - rarely_on(seen, pair.rectifier)
        wanted = [awake, *(int(pair.width * share) for share in SHARES)]
        for keep in sorted({rounded(count) for count in wanted if count > 0}):
            if keep < pair.width:
                reads, nothing = (pair.hidden,), frozenset[str]()
                yield Offer(NAME, pair.entry, reads, pair.target, pair.first.axis, pair.ops, nothing, (keep,), pair)


def fitter(offer: Offer, rng: np.random.Generator) -> Fitter:
    """The regression on hidden channels alone."""
    return JointFitter(pair_of(offer).second.weight, offer.key[0], 0, offer.axis, rng)


def choices(offer: Offer, view: GraphView, fitting: Fitting) -> tuple[Choice, ...]:
    """Both products anew."""
    pair = pair_of(offer)
    first, narrow = first_of(offer, view, fitting.kept)
    end = view.tensors[pair.target].shape or ()
    through = Form(narrow, fitting.core, end, straight(len(end)))
    return first, Choice(pair.target, pair.hidden, through, first.replaced)


KINDS.register(NAME)(Kind(offers, fitter, choices))
