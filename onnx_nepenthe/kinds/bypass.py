"""Wide MLPs: hidden channels that act as lines move into a parallel matrix that skips the rectifier.

y = W2[:, S] act(W1[S] x + b1[S]) + A x + c, with S the channels that stay. A and W2[:, S] are fitted together, so that
A = W2[:, L] diag(a) W1[L], what the lines a of the other channels L would make of it, is one of the points the fit
may take. Fewer multiply-adds once L is larger than inputs * outputs / (inputs + outputs).
Source: RePaViT (arXiv 2505.21847), which trains for it; here nothing is trained, S is chosen by data.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Dense
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.fit import Fitter, Fitting
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds.base import KINDS, Kind, Offer, Seen
from onnx_nepenthe.kinds.joint import JointFitter
from onnx_nepenthe.kinds.pairs import LARGEST_SYSTEM, Pair, first_of, pair_of, pairs, rounded
from onnx_nepenthe.plan import Choice

NAME = "bypass"
SHARES = (0.125, 0.25, 0.5)
"""Of the hidden channels, those that stay."""
WORTH = 0.9
"""More multiply-adds than this share of the pair's are not tried."""


def offers(seen: Seen) -> Iterator[Offer]:
    """One per pair and share that saves multiply-adds."""
    for pair in pairs(seen):
        if pair.width + pair.inputs > LARGEST_SYSTEM:
            continue
        for keep in sorted({rounded(int(pair.width * share)) for share in SHARES}):
            if _macs(pair, keep) < WORTH * pair.macs:
                reads = (pair.hidden, pair.entry)
                ops, nothing = pair.ops, frozenset[str]()
                yield Offer(NAME, pair.entry, reads, pair.target, pair.first.axis, ops, nothing, (keep,), pair)


def _macs(pair: Pair, keep: int) -> int:
    return keep * (pair.inputs + pair.outputs) + pair.inputs * pair.outputs


def fitter(offer: Offer, rng: np.random.Generator) -> Fitter:
    """The joint regression."""
    pair = pair_of(offer)
    return JointFitter(pair.second.weight, offer.key[0], pair.inputs, offer.axis, rng)


def choices(offer: Offer, view: GraphView, fitting: Fitting) -> tuple[Choice, ...]:
    """The narrower pair, and the matrix beside it."""
    pair, core = pair_of(offer), fitting.core
    if not isinstance(core, Dense):
        raise AssertionError("a bypass without its matrix")
    first, narrow = first_of(offer, view, fitting.kept)
    entry, end = view.tensors[pair.entry].shape or (), view.tensors[pair.target].shape or ()
    keep = len(fitting.kept)
    through = Form(narrow, Dense(offer.axis, core.weight[:, :keep], core.bias), end, straight(len(end)))
    zeros = np.zeros(len(core.bias))
    beside = Form(entry, Dense(offer.axis, core.weight[:, keep:], zeros), end, straight(len(end)))
    return first, Choice(pair.target, pair.hidden, through, first.replaced, ((pair.entry, beside),))


KINDS.register(NAME)(Kind(offers, fitter, choices))
