"""What a measurement is asked for, and how many samples it takes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.probe import Target
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.measure.ends import BoolArray
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.session import SessionConfig

COUNTS_BYTES = ("cpu", "CPUExecutionProvider")
"""Providers with operators that count bytes; their results lie in main memory, behind a cache."""
CACHED_BYTES = 1 << 23
"""Of the largest value in one run: counting goes over it several times, which is faster from a cache."""


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
                "a scan stops early, so it has neither sums for lines nor counts by class; drop one of them"
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
        may_cut: whether a batch may be run in parts: as many samples as a cache holds, and in a scan one sample first,
            which leaves less to follow.
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

    @property
    def samples_at_once(self) -> int:
        """How many samples a run takes at most; 0 for as many as come."""
        if self.config.provider not in COUNTS_BYTES:
            return 0
        sizes = [_sample_bytes(self.view.tensors[target.value]) for target in self.targets]
        return max(1, CACHED_BYTES // max(sizes)) if max(sizes) else 0


def _sample_bytes(tensor: Tensor) -> int:
    """Of one sample in float32; 0 where its size is not known."""
    sizes = (tensor.shape or ())[1:]
    known = [size for size in sizes if isinstance(size, int)]
    return 4 * prod(known) if len(known) == len(sizes) else 0
