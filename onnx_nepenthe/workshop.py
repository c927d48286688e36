"""The tools of a budgeted collapse: fit substitutes, build models with them, score and time them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.views import straight
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.fit import Fitting
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.snippet import with_outputs
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.kinds import KINDS
from onnx_nepenthe.metrics import Scores, default_metric, metric_of
from onnx_nepenthe.options import Options
from onnx_nepenthe.parts import Parts
from onnx_nepenthe.plan import Choice, Region
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.samples import batches_of
from onnx_nepenthe.session import open_session
from onnx_nepenthe.slimming import choices
from onnx_nepenthe.sources import Part
from onnx_nepenthe.substitutes import Substitute, fitter, substitutes
from onnx_nepenthe.tables import operator_table

LOG = logging.getLogger(__name__)
Array = npt.NDArray[Any]
PART_BUDGET_S = 0.2


@dataclass(frozen=True, eq=False)
class Made:
    """A substitute with its fitted map."""

    substitute: Substitute
    fitting: Fitting


@dataclass(frozen=True, eq=False)
class _Kept:
    """A batch, what the original makes of it, and the labels."""

    feeds: Mapping[str, Array]
    outputs: list[Array]
    labels: Array | None
    size: int


@dataclass
class Workshop:
    """One model and its data.

    Attributes:
        findings: of the model.
        options: of the run.
        dims: sizes of symbolic axes in runs that are timed.
        metric: name of the metric; set when the first scores are taken.
    """

    findings: Findings
    options: Options
    dims: Mapping[str, int]
    metric: str = ""
    _reference: dict[Part, list[_Kept]] = field(default_factory=dict)
    _made: dict[tuple[Substitute, ...], Made] = field(default_factory=dict)

    def scores(self, model: Model, part: Part) -> Scores:
        """Points per sample of `model` on a part of the data."""
        kept = self._kept(part)
        return np.concatenate([self._score(self.metric, outputs, row) for row, outputs in self._run(model, kept, None)])

    def original_scores(self, part: Part) -> Scores:
        """Points per sample of the original, from its kept outputs."""
        return np.concatenate([self._score(self.metric, row.outputs, row) for row in self._kept(part)])

    def drop_and_proxy(self, model: Model, limit: int | None) -> tuple[float, float, float]:
        """Points lost on the tuning data, the smooth proxy for it (100 less the proxy metric), and the standard error.

        Args:
            model: to score.
            limit: tuning samples at most, those of the first batches.
        """
        proxy = "kl" if self.metric in ("top1", "agreement") else "error"
        drops: list[Scores] = []
        distances: list[Scores] = []
        for row, outputs in self._run(model, self._kept("tuning"), limit):
            drops.append(self._score(self.metric, row.outputs, row) - self._score(self.metric, outputs, row))
            distances.append(100.0 - self._score(proxy, outputs, row))
        lost = np.concatenate(drops)
        return float(lost.mean()), float(np.concatenate(distances).mean()), float(lost.std() / np.sqrt(lost.size))

    @cached_property
    def substitutes(self) -> tuple[Substitute, ...]:
        """All that could be made, in graph order."""
        found = self.findings
        curved = tuple(entry.rectifier for entry in found.linearised.undecided.values())
        counts = {} if found.measurement is None else found.measurement.counts
        return substitutes(found.view, curved, self.dims, counts, found.linearised.decisions)

    def _run(self, model: Model, kept: Sequence[_Kept], limit: int | None) -> Iterator[tuple[_Kept, list[Array]]]:
        session = open_session(model, self.options.config)
        done = 0
        for row in kept:
            if limit is not None and done >= limit:
                return
            done += row.size
            yield row, [output[: row.size] for output in session.run(row.feeds)]

    @staticmethod
    def _score(metric: str, outputs: list[Array], row: _Kept) -> Scores:
        return metric_of(metric)(outputs, row.outputs, row.labels)

    def _kept(self, part: Part) -> list[_Kept]:
        """The batches of a part with the outputs of the original, in memory."""
        if part not in self._reference:
            session = open_session(self.findings.model, self.options.config)
            rows = []
            limit = self.options.verify_limit if part == "verification" else None
            for batch in batches_of(self.findings, self.options, part, limit):
                outputs = [output[: batch.size] for output in session.run(batch.feeds)]
                rows.append(_Kept(batch.feeds, outputs, batch.labels, batch.size))
                self.metric = self.metric or self.options.metric or default_metric(outputs, batch.labels)
            if not rows:
                raise UsageError(f"the data have too few samples for a {part} part; give more")
            self._reference[part] = rows
        return self._reference[part]

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
        """The rewrites that make these substitutes, in graph order."""
        return tuple(self._region(one) for one in self._in_order(made))

    def _in_order(self, made: Sequence[Made]) -> list[Made]:
        position = {name: at for at, name in enumerate(self.findings.view.tensors)}
        return sorted(made, key=lambda one: position[one.substitute.target])

    def _region(self, one: Made) -> Region:
        view, substitute = self.findings.view, one.substitute
        if substitute.offer is not None:
            several = KINDS[substitute.kind].choices(substitute.offer, view, one.fitting)
            return Region(substitute.target, several, 0.0)
        if substitute.slim is not None:
            pair = choices(view, substitute.slim, one.fitting, tuple(sorted(substitute.ops)))
            return Region(substitute.target, pair, 0.0)
        source, target = view.tensors[substitute.source].shape or (), view.tensors[substitute.target].shape or ()
        form = Form(source, one.fitting.core, target, straight(len(target)))
        choice = Choice(substitute.target, substitute.source, form, tuple(sorted(substitute.ops)))
        return Region(substitute.target, (choice,), 0.0)

    def gain_ms(self, one: Made) -> float:
        """Milliseconds that one substitute saves, its part of the model timed against the fitted operator."""
        return self.parts.gain_ms(one.substitute, self._region(one))

    @cached_property
    def parts(self) -> Parts:
        """What times the parts of the model."""
        return Parts(self.findings.model, self.findings.view, self.dims, operator_table(self.options, PART_BUDGET_S))


def chunks(items: Sequence[Substitute], size: int) -> Iterator[Sequence[Substitute]]:
    """`items` in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
