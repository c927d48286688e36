"""Channels that stay in order to carry the constants of others.

A constant c that a padded layer reads is missing beyond the edge, so no bias can stand for it. Two constants are
missing at the same places: W_i * c_i = (W_i c_i / c_k) * c_k, whatever the position. So one constant channel k stays
and its weights take over: W_k += W_i c_i / c_k. No operator is added and no size has to be known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnx_nepenthe.cutting.lanes import BoolArray
from onnx_nepenthe.cutting.trace import End, Trace

Carriers = Mapping[str, int]
"""Operator key → position of the carrier on the channel axis of its operand."""
LARGEST_FACTOR = 1024.0
"""Of c_i / c_k; a much smaller carrier would blow up its weights, and their rounding with them."""
CARRIES = "border: it carries the constants of other channels, which no bias can stand for near the edge"
NO_BIAS = "it carries the constants of other channels, as no bias can take them"


def choose_carriers(state: Trace) -> Carriers:
    """A carrier for each layer that needs one; classes of carriers are kept in `state`.

    A channel that is needed as a carrier by one layer stays everywhere, so keeping is settled for all layers first.
    """
    needing = [end for end in state.ends if not end.absorbs]
    for end in needing:
        needed = _needed(end, state)
        if needed.any() and _best(end, state) is None:
            largest = int(np.argmax(np.where(needed, np.abs(end.lanes.constants), -1.0)))
            reason = CARRIES if _is_padded(end, state) else NO_BIAS
            state.classes.keep(end.lanes.classes[largest : largest + 1], f"{end.label}: {reason}")
    found = {end.key: _best(end, state) for end in needing}
    return {key: carrier for key, carrier in found.items() if carrier is not None}


def _needed(end: End, state: Trace) -> BoolArray:
    """bool (n,): lanes that go and leave something behind."""
    lanes = end.lanes
    needed: BoolArray = state.classes.is_free(lanes.classes) & lanes.is_constant & (lanes.constants != 0) & end.reads
    return needed


def _best(end: End, state: Trace) -> int | None:
    """The largest constant that stays, if it is large enough for those that go."""
    lanes = end.lanes
    sizes = np.where(lanes.is_constant & ~state.classes.is_free(lanes.classes), np.abs(lanes.constants), 0.0)
    most = np.abs(lanes.constants[_needed(end, state)]).max(initial=0.0)
    best = int(np.argmax(sizes)) if sizes.any() else None
    return best if best is not None and sizes[best] * LARGEST_FACTOR >= most else None


def _is_padded(end: End, state: Trace) -> bool:
    op = state.view.op_of(end.key)
    return op is not None and op.op_type in ("Conv", "ConvTranspose")
