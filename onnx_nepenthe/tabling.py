"""`bench --table`: measure on this device all that a collapse of one model may ask the time of."""

from __future__ import annotations

import os

import numpy as np

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.charting import chart
from onnx_nepenthe.costs import MeasuredCosts, random_input
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.inspection import find
from onnx_nepenthe.latency import OperatorTable
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.narrowing import narrow
from onnx_nepenthe.options import Options
from onnx_nepenthe.plan import plan
from onnx_nepenthe.run import resolved
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.substitutes import Substitute, fitter
from onnx_nepenthe.workshop import Made, Workshop


def measured_table(path: str | os.PathLike[str], options: Options) -> OperatorTable:
    """Costs of the operators and parts of a model, of what could stand for them, and of the whole.

    Which exact compositions there are depends on which rectifiers are lines: give the data the collapse will have.

    Raises:
        UnsupportedError: no input for the model can be made.
        NepentheError: an unreadable model or data.
    """
    model = load(path)
    options = resolved(options, model)
    findings = find(model, options)
    feeds = timing_feeds(findings, options)
    if feeds is None:
        raise UnsupportedError(f"{path}: no random input can be made for it; give --data")
    narrowed = narrow(findings, options).findings
    dims = run_sizes(narrowed.model, narrowed.view, feeds, options.config)
    shop = Workshop(findings, options, run_sizes(model, findings.view, feeds, options.config))
    table = shop.parts.table
    atlas = chart(narrowed.view, narrowed.linearised.decisions, skip=options.skip)
    plan(atlas, MeasuredCosts(narrowed.model, narrowed.view, table, dims))
    shop.parts.model_ms(feeds)
    for done, substitute in enumerate(shop.substitutes):
        options.progress("timing parts", done, len(shop.substitutes))
        shop.gain_ms(_any_made(shop, substitute))
    return table


def _any_made(shop: Workshop, substitute: Substitute) -> Made:
    """The substitute with a map fitted to noise: its time depends on sizes only."""
    view, rng = shop.findings.view, np.random.default_rng(0)
    one = fitter(substitute, view, rng)
    tensors = (view.tensors[name] for name in (*substitute.reads, substitute.target))
    values = {t.name: random_input(concrete(t.shape or (), shop.dims), t.dtype or "float") for t in tensors}
    one.add(substitute.joined(values), values[substitute.target])
    return Made(substitute, one.solve())
