"""`bench --table`: measure on this device all that a collapse of one model may ask the time of."""

from __future__ import annotations

import os

from onnx_nepenthe.charting import chart
from onnx_nepenthe.costs import MeasuredCosts
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
from onnx_nepenthe.workshop import Workshop


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
        shop.gain_ms(substitute)
    return table
