"""Make substitutes one after the other, and mend what comes behind them.

In graph order every substitute, and every operator that one of them reaches, is fitted to what the original makes
there, on what the model makes by then: errors do not pile up. Only what lies between two values is run for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.fit import Terms
from onnx_nepenthe.fitters import feed, fitter
from onnx_nepenthe.onesided import Bounds
from onnx_nepenthe.refitting import aim_of, downstream
from onnx_nepenthe.substitutes import Substitute, refit_of
from onnx_nepenthe.tape import Tape
from onnx_nepenthe.workshop import Made, Workshop

QUICK_RIDGE = (0.1,)
"""What cross-validation mostly takes of `normal.TOWARDS`."""


@dataclass(frozen=True)
class Care:
    """How thoroughly substitutes are made.

    Attributes:
        share: rows of a sample that a fit uses.
        reach: operators that are refitted at most; None for all.
        is_quick: whether fits count what a rectifier hides too (see `onesided`), and take one ridge for all refits.
    """

    share: float
    reach: int | None = None
    is_quick: bool = False

    def terms(self, bounds: Bounds | None) -> Terms:
        """Of a fit before a rectifier that is flat there."""
        return Terms(None, self.share, QUICK_RIDGE) if self.is_quick else Terms(bounds, self.share)


def sweep(shop: Workshop, chosen: Sequence[Substitute], tape: Tape, care: Care) -> tuple[Made, ...]:
    """The substitutes and the refitted operators behind them, in graph order.

    Args:
        shop: of the model.
        chosen: substitutes that do not overlap.
        tape: fitting data, nowhere behind the first of them.
        care: how thoroughly.
    """
    rectifiers = shop.findings.rectifiers
    made: list[Made] = []
    for one in _in_turn(shop, chosen, care.reach):
        aim = aim_of(shop.findings.view, one.target, rectifiers)
        now = (*one.reads, *([aim.beside] if aim.beside else []))
        regions = shop.regions(made)
        start = front(shop, now, chosen)
        if shop.position(start) > shop.position(tape.at):
            tape.advance(start, regions)
        fit = fitter(one, shop.findings.view, np.random.default_rng(shop.options.seed), care.terms(aim.bounds))
        for values, wanted in tape.values(now, [aim.goal], regions):
            feed(fit, one.joined(values), wanted[aim.goal], values.get(aim.beside))
        made.append(Made(one, fit.solve()))
    return tuple(made)


def _in_turn(shop: Workshop, chosen: Sequence[Substitute], reach: int | None) -> Iterator[Substitute]:
    """Substitutes and refits, in graph order."""
    view = shop.findings.view
    gone = frozenset(key for one in chosen for key in one.ops)
    firsts = {one.slim.operand for one in chosen if one.slim is not None}
    reached = downstream(view, [one.target for one in chosen])
    stay = (site for site in shop.sites if site.ops <= reached and (site.value in firsts or not site.ops & gone))
    refits = sorted((refit_of(site) for site in stay), key=lambda one: shop.position(one.target))
    yield from sorted([*chosen, *refits[:reach]], key=lambda one: shop.position(one.target))


def front(shop: Workshop, names: Sequence[str], chosen: Sequence[Substitute]) -> str:
    """The last value that all of these can be computed from, once `chosen` are made; "" for the inputs."""
    inside = {name for one in chosen for name in _inside(shop, one)}
    paths = [set(shop.path(name)) for name in names]
    return next((name for name in reversed(shop.stem) if name not in inside and all(name in p for p in paths)), "")


def _inside(shop: Workshop, one: Substitute) -> set[str]:
    """Values that are gone, or not what they were, once a substitute is made."""
    ops = (shop.findings.view.op_of(key) for key in one.ops)
    return {name for op in ops if op is not None for name in op.outputs} - {one.target}
