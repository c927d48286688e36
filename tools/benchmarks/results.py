"""What one tool made of one model, and the table of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from onnx_nepenthe.latency import Comparison

HEADER = (
    "| model | tool | rectifiers | weighted depth | nodes | speed-up (95 % interval) | A/A control | max abs error |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Counts:
    """Size of one model."""

    rectifiers: int
    weighted_depth: int
    nodes: int


@dataclass(frozen=True)
class Row:
    """One tool on one model.

    Attributes:
        model, tool: names.
        before, after: sizes; `after` is None when the tool failed, both are when the model cannot be run.
        latency: input against result, None as `after`.
        error: largest absolute difference from the input's outputs, None as `after`.
        largest: largest absolute value among those outputs.
        has_data: calibration data came with the model.
        is_same: the tool gave back the model that came in.
        seconds: that the tool took.
        failure: one line; "" when all went well.
    """

    model: str
    tool: str
    before: Counts | None
    after: Counts | None = None
    latency: Comparison | None = None
    error: float | None = None
    largest: float | None = None
    has_data: bool = False
    is_same: bool = False
    seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Run:
    """All rows of one run, and what they hold for.

    Attributes:
        rows: by model.
        facts: caption: versions, machine, batch …
    """

    rows: Sequence[Row]
    facts: Mapping[str, Any]

    def markdown(self) -> str:
        """The caption and the table."""
        calibrated = dict.fromkeys(row.model for row in self.rows if row.has_data)
        lines = [_caption(self.facts, list(calibrated)), "", HEADER]
        for _, rows in groupby(self.rows, key=lambda row: row.model):
            lines += [_line(row, at == 0) for at, row in enumerate(rows)]
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {"facts": dict(self.facts), "rows": [asdict(row) for row in self.rows]}


def _caption(facts: Mapping[str, Any], calibrated: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["tools"].items())
    threads = f"{facts['threads']} threads" if facts["threads"] else "its own choice of threads"
    sentences = [
        f"{versions}; onnxruntime {facts['onnxruntime']} with its own graph optimisation on for all, "
        f"{facts['provider']}, {threads}, {facts['cores']} cores of {facts['cpu']}; "
        f"batch {facts['batch']} where the model leaves it open.",
        f"Random nets made from seed {facts['seed']}: {', '.join(facts['made'])}." if facts["made"] else "",
        f"Calibration data, which only onnx-nepenthe uses: {', '.join(calibrated)}." if calibrated else "",
        "onnx-nepenthe ran with --freeze-initializers, which onnxslim and onnxsim do without being asked. "
        "Counts are before → after. The speed-up is the median over paired timings in one process, input against "
        "result; the control is the input against itself in the same run: what that run cannot resolve. "
        "The error is against the input, both with onnxruntime's optimiser off, of the largest output.",
    ]
    return " ".join(filter(None, sentences))


def _line(row: Row, is_first: bool) -> str:
    head = f"| {_cell(row.model) if is_first else ''} | {row.tool} "
    if row.after is None or row.before is None or row.latency is None:
        return f"{head}| {_cell(row.failure)} | | | | | |"
    counts = (
        _change(row.before.rectifiers, row.after.rectifiers),
        _change(row.before.weighted_depth, row.after.weighted_depth),
        _change(row.before.nodes, row.after.nodes),
    )
    at = row.latency
    speedup = f"{at.speedup:.2f}× ({at.low:.2f}–{at.high:.2f})"
    control = f"{at.control_low:.2f}–{at.control_high:.2f}"
    return f"{head}| {' | '.join(counts)} | {speedup} | {control} | {_error(row)} |"


def _change(before: int, after: int) -> str:
    """Before and after, or the one number they share.

    >>> _change(3, 2), _change(3, 3)
    ('3 → 2', '3')
    """
    return f"{before}" if before == after else f"{before} → {after}"


def _error(row: Row) -> str:
    if row.is_same:
        return "unchanged"
    return "0" if row.error == 0 else f"{row.error:.1e} of {row.largest:.2g}"


def _cell(text: str) -> str:
    """`text` as it can stand in a cell.

    >>> _cell("a|b")
    'a\\\\|b'
    """
    return text.replace("|", "\\|")
