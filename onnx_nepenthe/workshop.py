"""The tools of a budgeted collapse: fit substitutes, build models with them, score and time them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.costs import random_input
from onnx_nepenthe.fit import Fitting
from onnx_nepenthe.fitters import fitter
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.snippet import with_outputs
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.judging import Judge
from onnx_nepenthe.kinds import KINDS
from onnx_nepenthe.metrics import Scores
from onnx_nepenthe.options import Options
from onnx_nepenthe.parts import Parts
from onnx_nepenthe.plan import Choice, Region
from onnx_nepenthe.refitting import Site, sites
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.samples import batches_of
from onnx_nepenthe.scale import Loss
from onnx_nepenthe.session import open_session
from onnx_nepenthe.slimming import choices
from onnx_nepenthe.sources import Part
from onnx_nepenthe.sources.split import part_size
from onnx_nepenthe.spans import dominators, stem
from onnx_nepenthe.substitutes import Substitute, substitutes
from onnx_nepenthe.tables import operator_table
from onnx_nepenthe.tape import Tape

PART_BUDGET_S = 0.2
USUAL = 1024
"""Samples of a part whose size is not known."""


@dataclass(frozen=True, eq=False)
class Made:
    """A substitute with its fitted map."""

    substitute: Substitute
    fitting: Fitting


@dataclass
class Workshop:
    """One model and its data.

    Attributes:
        findings: of the model.
        options: of the run.
        dims: sizes of symbolic axes in runs that are timed.
    """

    findings: Findings
    options: Options
    dims: Mapping[str, int]
    _made: dict[tuple[Substitute, ...], Made] = field(default_factory=dict)

    @cached_property
    def judge(self) -> Judge:
        """What scores models."""
        return Judge(self.findings, self.options)

    @property
    def metric(self) -> str:
        """Name of the metric; "" until the first scores are taken."""
        return self.judge.metric

    def scores(self, model: Model, part: Part) -> Scores:
        """Points per sample of `model` on a part of the data."""
        return self.judge.scores(model, part)

    def original_scores(self, part: Part) -> Scores:
        """Points per sample of the original, from its kept outputs."""
        return self.judge.original_scores(part)

    def drop_and_proxy(self, model: Model, limit: int | None) -> tuple[float, float, float]:
        """Points lost on the tuning data, the smooth distance, and the error of what is expected; see `scale.Loss`.

        Args:
            model: to score.
            limit: tuning samples at most, those of the first batches.
        """
        loss = self.judge.loss(model, limit)
        return loss.drop, loss.distance, loss.error

    def loss_behind(self, tape: Tape, made: Sequence[Made]) -> Loss:
        """What the model with these substitutes loses on the tuning data, from where the tape is on."""
        outputs = self.findings.view.outputs
        found = tape.values(outputs, (), self.regions(made))
        return self.judge.loss_of([values[name] for name in outputs] for values, _ in found)

    def tape(self, part: Part, limit: int | None) -> Tape:
        """Samples of a part, to be run piece by piece."""
        found, options = self.findings, self.options
        if part == "tuning":
            return Tape(found.model, found.view, options.config, lambda: self.judge.batches("tuning", limit))
        return Tape(found.model, found.view, options.config, lambda: batches_of(found, options, part, limit))

    def fitted_on(self, limit: int | None) -> int:
        """How many samples a fit has with at most `limit`, as far as that is known beforehand."""
        source = self.findings.source
        count = None if source is None else source.count()
        known = [n for n in (limit, None if count is None else part_size(count, "fitting")) if n is not None]
        return min(known, default=USUAL)

    @cached_property
    def substitutes(self) -> tuple[Substitute, ...]:
        """All that could be made, in graph order."""
        found = self.findings
        curved = tuple(entry.rectifier for entry in found.linearised.undecided.values())
        counts = {} if found.measurement is None else found.measurement.counts
        return substitutes(found.view, curved, self.dims, counts, found.linearised.decisions)

    def fit(self, substitutes: Sequence[Substitute], before: Sequence[Made] = ()) -> list[Fitting]:
        """Fit each substitute: inputs from the model with `before` made, targets from the original.

        One pass over the fitting part for all of them.
        """
        rng = np.random.default_rng(self.options.seed)
        model, view = self.findings.model, self.findings.view
        fitters = [fitter(substitute, view, rng) for substitute in substitutes]
        sources = list(dict.fromkeys(name for substitute in substitutes for name in substitute.reads))
        targets = list(dict.fromkeys(substitute.target for substitute in substitutes))
        entry = open_session(self.build(before, with_outputs(model, sources)), self.options.config)
        exit_ = open_session(with_outputs(model, targets), self.options.config)
        for batch in batches_of(self.findings, self.options, "fitting", self.options.fit_limit):
            xs = dict(zip(sources, (value[: batch.size] for value in entry.run(batch.feeds)), strict=True))
            ys = dict(zip(targets, (value[: batch.size] for value in exit_.run(batch.feeds)), strict=True))
            for substitute, one in zip(substitutes, fitters, strict=True):
                one.add(substitute.joined(xs), ys[substitute.target])
        return [one.solve() for one in fitters]

    def made_after(self, substitute: Substitute, before: tuple[Made, ...]) -> Made:
        """The substitute fitted after `before`, which were made in this order; remembered."""
        key = (*(one.substitute for one in before), substitute)
        if key not in self._made:
            self._made[key] = Made(substitute, self.fit([substitute], before)[0])
        return self._made[key]

    def build(self, made: Sequence[Made], model: Model | None = None) -> Model:
        """The original (or `model`, a part of it) with these substitutes."""
        base = self.findings.model if model is None else model
        built: Model = rewrite(base, self.findings.view, self.regions(made))
        return built

    def regions(self, made: Sequence[Made]) -> tuple[Region, ...]:
        """The rewrites that make these substitutes, in graph order.

        The first of a slim pair that was fitted anew is made together with the second.
        """
        firsts = {one.substitute.slim.operand for one in made if one.substitute.slim is not None}
        refits = {one.substitute.target: one for one in made if one.substitute.site is not None}
        ordered = sorted(made, key=lambda one: self.position(one.substitute.target))
        return tuple(
            self._region(one, refits)
            for one in ordered
            if one.substitute.site is None or one.substitute.target not in firsts
        )

    def _region(self, one: Made, refits: Mapping[str, Made]) -> Region:
        view, substitute = self.findings.view, one.substitute
        if substitute.offer is not None:
            several = KINDS[substitute.kind].choices(substitute.offer, view, one.fitting)
            return Region(substitute.target, several, 0.0)
        if substitute.slim is not None:
            first = refits.get(substitute.slim.operand)
            core = first.fitting.core if first is not None and isinstance(first.fitting.core, Conv) else None
            pair = choices(view, substitute.slim, one.fitting, tuple(sorted(substitute.ops)), core)
            return Region(substitute.target, pair, 0.0)
        source, target = view.tensors[substitute.source].shape or (), view.tensors[substitute.target].shape or ()
        form = Form(source, one.fitting.core, target, straight(len(target)))
        choice = Choice(substitute.target, substitute.source, form, tuple(sorted(substitute.ops)))
        return Region(substitute.target, (choice,), 0.0)

    def gain_ms(self, substitute: Substitute) -> float:
        """Milliseconds that one substitute saves, its part of the model timed against the fitted operator."""
        return self.parts.gain_ms(substitute, lambda: self._region(any_made(self, substitute), {}))

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Operators that can be fitted anew, in graph order."""
        return sites(self.findings.view)

    @cached_property
    def _parents(self) -> dict[str, str]:
        return dominators(self.findings.view)

    @cached_property
    def stem(self) -> tuple[str, ...]:
        """Values that every path to an output passes through, first ones first."""
        return stem(self.findings.view, self._parents)

    def path(self, name: str) -> Iterator[str]:
        """The value and those that every path to it passes through, nearest first."""
        at: str | None = name
        while at is not None:
            yield at
            at = self._parents.get(at)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.findings.view.tensors)}

    def position(self, name: str) -> int:
        """Where a value comes in graph order; before all of them for ""."""
        return self._positions.get(name, -1)

    @cached_property
    def parts(self) -> Parts:
        """What times the parts of the model."""
        return Parts(self.findings.model, self.findings.view, self.dims, operator_table(self.options, PART_BUDGET_S))


def any_made(shop: Workshop, substitute: Substitute) -> Made:
    """The substitute with a map fitted to noise: its time depends on sizes only."""
    view, rng = shop.findings.view, np.random.default_rng(0)
    one = fitter(substitute, view, rng)
    tensors = (view.tensors[name] for name in (*substitute.reads, substitute.target))
    values = {t.name: random_input(concrete(t.shape or (), shop.dims), t.dtype or "float") for t in tensors}
    one.add(substitute.joined(values), values[substitute.target])
    return Made(substitute, one.solve())
