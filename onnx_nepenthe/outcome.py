"""The record of one run: what was found, decided, done and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_nepenthe.drift import Drift
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.evidence import Fitted
from onnx_nepenthe.graph.stats import ModelSize
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.linearise import Decision, Undecided
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import IntArray, RegimeCounts
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.steps import Step
from onnx_nepenthe.sums import LineSums
from onnx_nepenthe.verify import Verdict


@dataclass(frozen=True)
class Refusal:
    """Something left as it is.

    Attributes:
        where: label of the operator or region.
        stage: "rectifier", "reader", "composition", "latency", "verification" or "model".
        reason: why.
        lift: what would change it ("" when nothing).
    """

    where: str
    stage: str
    reason: str
    lift: str = ""

    @classmethod
    def of(cls, where: str, stage: str, refused: Refused) -> Refusal:
        """From a stage's own refusal."""
        return cls(where, stage, refused.reason, refused.lift)


@dataclass(frozen=True, eq=False)
class RectifierRow:
    """One rectifier for the report.

    Attributes:
        rectifier: which one.
        counts: what was seen; None without data.
        found: the decision, or why there is none.
        removed: whether it is gone from the result.
        fitted: the fit that did away with it; None when none did.
        proved: int64 (channels,), the proved piece or -1; None when nothing is.
        seen: int64 (channels,), observations of each channel, at least; None without data.
        samples: that they come from.
        lines: sums for least-squares lines; None unless collected.
        classes: counts by class label; None unless collected.
    """

    rectifier: Rectifier
    counts: RegimeCounts | None
    found: Decision | Undecided
    removed: bool = False
    fitted: Fitted | None = None
    proved: IntArray | None = None
    seen: IntArray | None = None
    samples: int = 0
    lines: LineSums | None = None
    classes: ClassCounts | None = None


@dataclass(frozen=True)
class Side:
    """One model's size; `rectifiers` counts what a rectifier finder sees in it."""

    size: ModelSize
    rectifiers: int


@dataclass(frozen=True, eq=False)
class Inspection:
    """What `inspect` reports.

    Attributes:
        name: of the model.
        rows: rectifiers in graph order.
        refusals: what could not be read.
        side: size of the model.
        samples: calibration samples measured; 0 without data.
        notes: from measuring and reading.
        environment: versions and machine.
        measurement: all that was measured; None without data.
        drifts: decisions of an earlier measurement that do not hold on these data.
    """

    name: str
    rows: tuple[RectifierRow, ...]
    refusals: tuple[Refusal, ...]
    side: Side
    samples: int = 0
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    measurement: Measurement | None = None
    drifts: tuple[Drift, ...] = ()


@dataclass(frozen=True)
class Bought:
    """One fitted operator in the result.

    Attributes:
        source, target: values; the operator computes `target` from `source`.
        kind: what was fitted, as `substitutes.Substitute` says.
        rectifiers: how many of them it does away with.
        residual: mean squared error over the variance of the target, on the fitting data.
        drop: points it costs alone, on tuning data.
        gain_ms: milliseconds it saves alone.
        replaced: labels of the operators it stands for.
    """

    source: str
    target: str
    kind: str
    rectifiers: int
    residual: float
    drop: float
    gain_ms: float
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class Price:
    """What a budgeted collapse cost, on verification data that neither fitting nor tuning saw.

    Attributes:
        metric: name of the metric; points.
        before, after: of input and result.
        drop, low, high: before less after, with its 95 % interval (paired bootstrap).
        samples: verification samples.
        allowed: the budget; None when a speed-up was asked for.
        tuning_drop: the drop on the tuning data, before the exact collapse.
        considered: how many substitutes were scored.
        substitutes: those made.
        refits: the operators behind them that were fitted anew; they save nothing.
    """

    metric: str
    before: float
    after: float
    drop: float
    low: float
    high: float
    samples: int
    allowed: float | None
    tuning_drop: float
    considered: int
    substitutes: tuple[Bought, ...]
    refits: tuple[Bought, ...] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What `collapse` reports.

    Attributes:
        inspection: of the input.
        model: the new model (onnx_ir), None when nothing could be collapsed: then the input is the result.
        after: size of the result.
        rewrites: what was done, in order.
        speedups: region → its own speed-up, where regions were timed.
        refusals: everything left as it is, in graph order.
        latency: input against result; None when latency was not measured.
        verdict: None when the result is the input.
        options: how it was run, JSON-able.
        message: the last line for the user.
        price: what was paid for speed; None for exact rewrites only.
        steps: all that was done, with its numbers.
    """

    inspection: Inspection
    model: Any
    after: Side
    rewrites: tuple[Rewrite, ...]
    speedups: Mapping[str, float]
    refusals: tuple[Refusal, ...]
    latency: Comparison | None
    verdict: Verdict | None
    options: Mapping[str, Any]
    message: str
    price: Price | None = None
    steps: tuple[Step, ...] = ()

    @property
    def is_collapsed(self) -> bool:
        """Whether there is a new model."""
        return self.model is not None
