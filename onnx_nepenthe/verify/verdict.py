"""What verification found, as records, and how statistics become a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.verify.differences import OutputErrors, is_float
from onnx_nepenthe.verify.tolerance import tolerance

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OutputRow:
    """One output in one way of running the result.

    Attributes:
        name: of the output.
        mode: "optimiser off", "optimiser on" (what users run) or "onnx.reference".
        max_abs_error, mean_abs_error: against the input model with the optimiser off.
        max_rel_error: max_abs_error over `scale`.
        scale: largest magnitude of the output.
        tolerance: what `max_abs_error` may be.
        mismatches: unequal integers, booleans or strings; NaN or infinity in one model only.
        reason: why it failed, "" when it passed.
        sample: where it failed, when it did.
    """

    name: str
    mode: str
    max_abs_error: float
    mean_abs_error: float
    max_rel_error: float
    scale: float
    tolerance: float
    mismatches: int
    reason: str = ""
    sample: int | None = None

    @property
    def passed(self) -> bool:
        """No reason to fail."""
        return not self.reason


@dataclass(frozen=True)
class TaskCounts:
    """How often two classifiers agree with each other and with the labels; adds up over batches.

    Attributes:
        compared, agreed: samples with class scores, and those with the same best class.
        labelled, right_before, right_after: samples with labels, and those each model gets right.
    """

    compared: int = 0
    agreed: int = 0
    labelled: int = 0
    right_before: int = 0
    right_after: int = 0

    def __add__(self, other: TaskCounts) -> TaskCounts:
        """Counts over both sets of samples."""
        return TaskCounts(
            self.compared + other.compared,
            self.agreed + other.agreed,
            self.labelled + other.labelled,
            self.right_before + other.right_before,
            self.right_after + other.right_after,
        )


@dataclass(frozen=True)
class Verdict:
    """Whether the result computes what the input model computes.

    Attributes:
        passed: the interface is the same and every output is within its tolerance.
        max_abs_error, mean_abs_error, max_rel_error, tolerance: of the output nearest to (or furthest over) its
            tolerance.
        samples: how many were compared.
        agreement: share of samples with the same best class; None unless an output of rank 2 holds class scores.
        top1_before, top1_after: share of samples with the right best class; None without labels.
        outputs: one row per output and way of running.
        failing_output, failing_sample: the first output that failed, and the sample where it is furthest off.
        interface: differences of inputs and outputs, in words.
        disjoint: whether the data were kept apart from calibration.
        source: where the data come from.
        engine: what ran the models.
        reason: why it failed, "" when it passed.
    """

    passed: bool
    max_abs_error: float = 0.0
    mean_abs_error: float = 0.0
    max_rel_error: float = 0.0
    tolerance: float = 0.0
    samples: int = 0
    agreement: float | None = None
    top1_before: float | None = None
    top1_after: float | None = None
    outputs: tuple[OutputRow, ...] = ()
    failing_output: str = ""
    failing_sample: int | None = None
    interface: tuple[str, ...] = ()
    disjoint: bool = False
    source: str = ""
    engine: str = ""
    reason: str = ""


def count_task(before: Sequence[Array], after: Sequence[Array], labels: Array | None) -> TaskCounts:
    """Counts of one batch; empty unless some output holds class scores (n, classes), or (n, classes, 1, 1)."""
    index = next((i for i, array in enumerate(before) if _is_scores(array)), None)
    if index is None or before[index].shape != after[index].shape:
        return TaskCounts()
    best = before[index].reshape(before[index].shape[:2]).argmax(axis=1)
    best_after = after[index].reshape(after[index].shape[:2]).argmax(axis=1)
    agreed = int((best == best_after).sum())
    if labels is None or labels.shape != best.shape:
        return TaskCounts(best.size, agreed)
    return TaskCounts(best.size, agreed, best.size, int((best == labels).sum()), int((best_after == labels).sum()))


def _is_scores(array: Array) -> bool:
    is_flat = array.ndim >= 2 and array.shape[1] > 1 and all(size == 1 for size in array.shape[2:])
    return is_flat and is_float(array)


def judge(
    errors: Mapping[tuple[str, str], OutputErrors],
    task: TaskCounts,
    *,
    samples: int,
    precision: str,
    depth: int,
    source: str,
    disjoint: bool,
    engine: str,
) -> Verdict:
    """The verdict on (output, mode) → statistics; `precision` and `depth` as in `tolerance`."""
    rows = tuple(_row(name, mode, found, precision, depth) for (name, mode), found in errors.items())
    failing = next((row for row in rows if not row.passed), None)
    worst = max(rows, key=_strain, default=None)
    reason = "" if failing is None else f"output {failing.name} ({failing.mode}): {failing.reason}"
    if not samples:
        reason = f"there are no data to verify on{f' in {source}' if source else ''}"
    return Verdict(
        passed=not reason,
        max_abs_error=worst.max_abs_error if worst else 0.0,
        mean_abs_error=worst.mean_abs_error if worst else 0.0,
        max_rel_error=worst.max_rel_error if worst else 0.0,
        tolerance=worst.tolerance if worst else 0.0,
        samples=samples,
        agreement=_share(task.agreed, task.compared),
        top1_before=_share(task.right_before, task.labelled),
        top1_after=_share(task.right_after, task.labelled),
        outputs=rows,
        failing_output=failing.name if failing else "",
        failing_sample=failing.sample if failing else None,
        disjoint=disjoint,
        source=source,
        engine=engine,
        reason=reason,
    )


def _row(name: str, mode: str, found: OutputErrors, precision: str, depth: int) -> OutputRow:
    allowed = tolerance(precision, depth, found.scale)
    reason, sample = "", None
    if found.problem:
        reason = found.problem
    elif found.mismatches:
        reason = f"{found.mismatches} of {found.elements} values that must be equal (integers, NaN, infinity …) are not"
        sample = found.first_mismatch
    elif found.max_abs > allowed:
        reason = f"error {found.max_abs:.3g} is over the tolerance {allowed:.3g} ({precision}, depth {depth})"
        sample = found.worst_sample
    return OutputRow(
        name=name,
        mode=mode,
        max_abs_error=found.max_abs,
        mean_abs_error=found.sum_abs / found.elements if found.elements else 0.0,
        max_rel_error=found.max_abs / found.scale if found.scale else 0.0,
        scale=found.scale,
        tolerance=allowed,
        mismatches=found.mismatches,
        reason=reason if sample is None else f"{reason}, sample {sample}",
        sample=sample,
    )


def _strain(row: OutputRow) -> tuple[bool, float]:
    return not row.passed, float(np.divide(row.max_abs_error, row.tolerance))


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
