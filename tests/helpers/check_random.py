"""Collapse a random graph and compare it with itself, twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.regions import Affine
from onnx_nepenthe.rewrite import rewrite
from tests.helpers.build import Array
from tests.helpers.compare import Feeds, RuntimeRefusal, assert_close, assert_valid, operators, run_runtime
from tests.helpers.exact import stages
from tests.helpers.random_graphs import Sample, drawn_graph, finished
from tests.helpers.random_operators import OPERATORS, Append
from tests.helpers.reference import reference_values, run_reference

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ROUNDING = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 2e-5, np.dtype(np.float16): 2e-2}
"""Of the coarsest type in the graph, relative to the largest number anywhere in it."""


@dataclass
class Tally:
    """What the graphs of one run were."""

    graphs: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    changed: int = 0

    def add(self, old: onnx.ModelProto, new: onnx.ModelProto) -> None:
        """Count one graph."""
        self.graphs += 1
        self.before.update(operators(old))
        self.after.update(operators(new))
        self.changed += operators(old) != operators(new)

    def __str__(self) -> str:
        weighted = [sum(counts[op] for op in WEIGHTED) for counts in (self.before, self.after)]
        runs = ", ".join(f"{count} {name}" for name, count in sorted(self.runs.items()))
        return (
            f"{self.graphs} graphs, {self.changed} changed; operators {self.before.total()} -> {self.after.total()}, "
            f"weighted {weighted[0]} -> {weighted[1]}; comparisons: {runs}"
        )


def draw_sample(source: random.Random, operators: Mapping[str, Append] = OPERATORS) -> Sample:
    """One random graph and what to feed it."""
    return finished(drawn_graph(source, operators))


def check_sample(sample: Sample, tally: Tally) -> None:
    """Assert that the collapsed graph is valid and computes the same wherever the original runs."""
    new = collapsed(sample)
    assert_valid(new, sample.model)
    tally.add(sample.model, new)
    for feeds in sample.feeds:
        wanted, tolerance = expected(sample.model, feeds)
        if wanted is not None:
            tally.runs["onnx.reference"] += 1
            assert_close(run_reference(new, feeds), wanted, tolerance)
        try:
            by_runtime = run_runtime(sample.model, feeds)
        except RuntimeRefusal:
            # A size that its constants do not fit, or a type without a kernel.
            tally.runs["refused by onnxruntime"] += 1
            continue
        tally.runs["onnxruntime"] += 1
        assert_close(run_runtime(new, feeds), by_runtime, tolerance)


@dataclass(frozen=True)
class RandomPrices:
    """Makes any choice the cheapest."""

    source: random.Random

    def single(self, form: Form, value: str) -> float:
        return self.source.random()

    def keep(self, value: Affine, form: Form | None) -> float:
        return self.source.random()


def collapsed(sample: Sample) -> onnx.ModelProto:
    """The sample's model, collapsed the sample's way."""
    source = random.Random(sample.seed)
    prices = RandomPrices(source) if sample.variant == "prices" else "off"
    found = stages(sample.model, latency=prices, ranges=sample.ranges)
    regions = found.regions
    if sample.variant == "some":
        regions = tuple(region for region in regions if source.random() < 0.5)
    return ir.to_proto(rewrite(found.model, found.view, regions))


def expected(model: onnx.ModelProto, feeds: Feeds) -> tuple[list[Array] | None, float]:
    """What onnx.reference makes of the original, if it can, and how far off rounding may lead."""
    try:
        values = reference_values(model, feeds)
    except Exception:
        # onnx.reference raises whatever its Python comes across.
        return None, 100 * max(ROUNDING.values())
    floats = [v for v in values.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    largest = max(1.0, *(float(np.abs(v).max(initial=0.0)) for v in floats))
    return [values[info.name] for info in model.graph.output], largest * max(ROUNDING[v.dtype] for v in floats)
