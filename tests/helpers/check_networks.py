"""Collapse a whole network and compare it with itself; count what became of its rectifiers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.linearise import Undecided
from onnx_nepenthe.outcome import Outcome, RectifierRow
from onnx_nepenthe.trial import compare_models
from tests.helpers.build import Array
from tests.helpers.collapsing import CONFIG, collapse, parts
from tests.helpers.compare import Feeds, assert_close, operators, run_runtime
from tests.helpers.networks import Drawn
from tests.helpers.reference import reference_values, run_reference

ROUNDING = 5e-5
"""Relative to the largest number anywhere in the network."""
FEW = 2
"""Samples that onnx.reference is given."""


@dataclass
class Tally:
    """What became of the networks of one run.

    Attributes:
        counts: (architecture, what) → how often.
        reasons: (architecture, kind of rectifier, why a forced one stays) → how often.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, drawn: Drawn, after: onnx.ModelProto, outcome: Outcome, why: dict[str, str]) -> None:
        """Count one network; `why` the forced rectifiers that stay do."""
        self.counts[drawn.name, "graphs"] += 1
        self.counts[drawn.name, "rectifiers"] += len(drawn.kinds)
        self.counts[drawn.name, "forced"] += len(drawn.forced)
        self.counts[drawn.name, "refused"] += len(why)
        self.counts[drawn.name, "removed"] += len(drawn.forced) - len(why)
        self.counts[drawn.name, "collapsed"] += outcome.is_collapsed
        self.counts[drawn.name, "before"] += sum(operators(drawn.model).values())
        self.counts[drawn.name, "after"] += sum(operators(after).values())
        self.reasons.update((drawn.name, drawn.kinds[key], reason) for key, reason in why.items())

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for name, _ in self.counts))
        lines = [self._line(name, [name]) for name in names]
        return "\n".join([*lines, self._line("all", names)])

    def _line(self, title: str, names: list[str]) -> str:
        n = {what: sum(self.counts[name, what] for name in names) for what in {what for _, what in self.counts}}
        return (
            f"{title}: {n['graphs']} graphs, {n['collapsed']} collapsed; rectifiers {n['rectifiers']}, "
            f"forced {n['forced']}, removed {n['removed']}, refused {n['refused']}; "
            f"operators {n['before']} -> {n['after']}"
        )


def check_network(drawn: Drawn, latency: str, tally: Tally) -> onnx.ModelProto:
    """Assert that the collapsed network is equal, not slower, and every forced rectifier gone or explained.

    Returns:
        The result.
    """
    outcome = collapse(drawn.model, data=drawn.data, latency=latency, prove_budget_s=0.0)
    after = drawn.model if outcome.model is None else ir.to_proto(outcome.model)
    onnx.checker.check_model(after, full_check=True)
    assert compare(interface_of(ir.from_proto(drawn.model)), interface_of(ir.from_proto(after))) == []
    assert_equal(after, drawn.model, drawn.data, outcome)
    assert outcome.latency is None or not outcome.latency.is_slower
    rows = {row.rectifier.key: row for row in outcome.inspection.rows}
    why = {key: _why(rows[key], outcome) for key in drawn.forced if not rows[key].removed}
    assert all(why.values()), f"unexplained: {[key for key, reason in why.items() if not reason]}"
    tally.add(drawn, after, outcome, why)
    return after


def assert_equal(after: onnx.ModelProto, before: onnx.ModelProto, data: Feeds, outcome: Outcome | None = None) -> None:
    """By onnxruntime on all of the data, by onnx.reference on some.

    A channel that was not forced may by chance never have changed its piece where that was counted, and do so barely
    where it is verified: samples that were not counted may be as far off as the verdict of `outcome` allows.
    """
    counted, verifying = parts(len(next(iter(data.values()))))
    few: dict[str, Array] = {name: array[counted[:FEW]] for name, array in data.items()}
    values = reference_values(before, few)
    floats = [value for value in values.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    tolerance = ROUNDING * max(1.0, *(float(np.abs(value).max(initial=0.0)) for value in floats))
    got, want = run_runtime(after, data), run_runtime(before, data)
    assert_close([value[counted] for value in got], [value[counted] for value in want], tolerance)
    if outcome is not None and outcome.verdict is not None:
        tolerance = max(tolerance, outcome.verdict.tolerance)
    assert_close([value[verifying] for value in got], [value[verifying] for value in want], tolerance)
    assert_close(run_reference(after, few), [values[info.name] for info in before.graph.output], tolerance)


def is_slower(drawn: Drawn, after: onnx.ModelProto) -> bool:
    """Whether the result is, on one sample, timed twice in sessions of its own."""
    feeds = {name: array[:1] for name, array in drawn.data.items()}
    models = [ir.from_proto(drawn.model), ir.from_proto(after)]
    return all(compare_models(*models, feeds, CONFIG, np.random.default_rng(turn)).is_slower for turn in range(2))


def _why(row: RectifierRow, outcome: Outcome) -> str:
    """Why the rectifier stays; empty if nothing says so."""
    if isinstance(row.found, Undecided):
        return row.found.refusal.reason
    named = [refusal for refusal in outcome.refusals if row.rectifier.label in refusal.where]
    return f"{named[0].stage}: {named[0].reason}" if named else ""
