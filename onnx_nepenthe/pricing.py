"""Score every substitute alone: what it saves, and what it costs once what comes behind it is mended."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from onnx_nepenthe.composing import Sequels
from onnx_nepenthe.scale import Loss, Scale
from onnx_nepenthe.spending import Priced
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.sweeping import Care, front, sweep
from onnx_nepenthe.workshop import Made, Workshop

LOG = logging.getLogger(__name__)
WORST_RESIDUAL = 0.6
"""A fit that leaves more of the target's variance than this is not tried."""
SMALLEST_SHARE = 0.01
"""A substitute must save this share of the model's time to be scored."""
FITTED_ON = 256
"""Samples that a single substitute is fitted on, where each has many positions."""
SCORED_ON = 512
"""Tuning samples that it is scored on at most; smooth distances need no more."""
QUICKLY = Care(share=32.0, reach=6, is_quick=True)
"""Nearly all that mending does, it does close by."""


def price(shop: Workshop, model_ms: float) -> tuple[list[Priced], Scale]:
    """Time, fit and score every substitute alone; those that save next to nothing or fit badly fall out.

    Args:
        shop: of the model.
        model_ms: time of the model, per call.

    Returns:
        The substitutes in graph order, and what their distances say about points.
    """
    worth = list(_worth(shop, model_ms))
    limit = min(SCORED_ON, shop.options.tune_limit or SCORED_ON)
    fits, scores = shop.tape("fitting", FITTED_ON), shop.tape("tuning", limit)
    found: list[tuple[Made, float, Loss]] = []
    scale = Scale()
    for done, (substitute, gain) in enumerate(worth, start=1):
        shop.options.progress("scoring substitutes", done, len(worth))
        start = front(shop, [substitute.entry, *substitute.reads], [substitute])
        for tape in (fits, scores):
            if shop.position(start) > shop.position(tape.at):
                tape.advance(start, ())
        made = sweep(shop, [substitute], fits.fork(), QUICKLY)
        own = next(one for one in made if one.substitute is substitute)
        if own.fitting.residual > WORST_RESIDUAL:
            continue
        loss = shop.loss_behind(scores, made)
        LOG.debug("%s saves %.3f ms, %s", substitute.label, gain, loss)
        scale.learn(loss)
        found.append((own, gain, loss))
    return [Priced(made, scale.points(loss), gain) for made, gain, loss in found], scale


def _worth(shop: Workshop, model_ms: float) -> Iterator[tuple[Substitute, float]]:
    """Those that save time, with the milliseconds, by where they begin."""
    every = sorted(shop.substitutes, key=lambda one: shop.position(one.entry))
    sequels = Sequels(shop)
    for done, substitute in enumerate(every, start=1):
        shop.options.progress("timing parts", done, len(every))
        gain = shop.gain_ms(substitute) + sequels.gain_ms(substitute)
        if gain > SMALLEST_SHARE * model_ms:
            yield substitute, gain
