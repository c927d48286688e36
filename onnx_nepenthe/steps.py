"""What a collapse did, with every number, so that it can be done again without data or measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnx_nepenthe.cutting import Cut, apply_cuts
from onnx_nepenthe.graph.bodies import Bodies, Place
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.plan import Region
from onnx_nepenthe.rewrite import Rewrite, computed_weights, described, rewrite


@dataclass(frozen=True, eq=False)
class Inside:
    """Rewrites of one body of an operator.

    Attributes:
        place: which body.
        regions: rewrites of its own operators.
        bodies: those of the bodies inside it, after `regions`.
    """

    place: Place
    regions: tuple[Region, ...]
    bodies: tuple[Inside, ...] = ()


@dataclass(frozen=True, eq=False)
class Step:
    """Cuts, then rewrites, on what the step before left; or rewrites of bodies.

    Attributes:
        cuts: channels that go.
        regions: rewrites of the model without them.
        bodies: rewrites of bodies of its operators; such a step has neither cuts nor regions.
    """

    cuts: tuple[Cut, ...] = ()
    regions: tuple[Region, ...] = ()
    bodies: tuple[Inside, ...] = ()


def taken(model: Model, steps: Sequence[Step]) -> Model:
    """`model` (not changed) after the steps."""
    for step in steps:
        if step.cuts:
            model = apply_cuts(model, view_from_model(model), step.cuts)
        view = view_from_model(model)
        if step.bodies:
            model = _inside(model, view, step.bodies)
        elif step.regions or computed_weights(view):
            model = rewrite(model, view, step.regions)
    return model


def _inside(model: Model, view: GraphView, bodies: Sequence[Inside]) -> Model:
    copy = Bodies(model, view)
    for one in bodies:
        own = (Step(regions=one.regions), *((Step(bodies=one.bodies),) if one.bodies else ()))
        copy.put_back(one.place, taken(copy.take_out(one.place), own))
    return copy.finish()


def rewrites_inside(bodies: Sequence[Inside]) -> Iterator[Rewrite]:
    """The journal of what is done in bodies, in order."""
    for one in bodies:
        for region in one.regions:
            where = f"{region.name} in {one.place}"
            yield from (Rewrite(c.value, c.source, c.replaced, where, described(c)) for c in region.choices)
        yield from rewrites_inside(one.bodies)
