"""What a measurement is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.probe import Target
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.measure.ends import BoolArray
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.session import SessionConfig

COUNTS_BYTES = ("cpu",)
"""Providers with operators that count bytes."""


@dataclass(frozen=True)
class Collect:
    """What to collect beside regime counts.

    Attributes:
        scan: follow only what can still be decided: minimum and maximum first, exact counts where a channel lies on a
            knot, after a change of regime only channels that are constant. Decisions are those of a full count.
        lines: sums for least-squares lines.
        classes: counts by class label.
    """

    scan: bool = False
    lines: bool = False
    classes: bool = False

    def __post_init__(self) -> None:
        if self.scan and (self.lines or self.classes):
            raise UsageError(
                "a scan stops early, so it has no sums for lines and no counts by class; leave out --scan, or those"
            )

    def __str__(self) -> str:
        return "scan" if self.scan else "+".join(["counts", *(n for n in ("lines", "classes") if getattr(self, n))])


@dataclass(frozen=True, eq=False)
class Job:
    """What is measured, and how.

    Attributes:
        model, view: not changed.
        targets: at least one.
        rectifiers: by key.
        config: how to run.
        collect: what beside counts.
        rows: names of values whose axis 0 holds the samples.
        proved: by rectifier key, the channels that need no data.
        may_cut: whether a batch may be run in parts: a scan then takes one sample first, which leaves less to follow.
    """

    model: Model
    view: GraphView
    targets: tuple[Target, ...]
    rectifiers: Mapping[str, Rectifier]
    config: SessionConfig
    collect: Collect = Collect()
    rows: frozenset[str] = frozenset()
    proved: Mapping[str, BoolArray] = field(default_factory=dict)
    may_cut: bool = False
