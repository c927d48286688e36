"""Run two models on the same data and compare what comes out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.reference import ReferenceRunner, coarsest_precision
from onnx_nepenthe.graph.seeding import seeded
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.opview import Shape, Tensor
from onnx_nepenthe.session import SessionConfig, open_session
from onnx_nepenthe.verify.differences import OutputErrors, as_array, compare_arrays
from onnx_nepenthe.verify.verdict import TaskCounts, Verdict, count_task, judge

LOG = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_DEFAULT = SessionConfig()
ModelOrPath = Model | str | Path


class Batch(Protocol):
    """A few samples, as data sources hand them out."""

    @property
    def feeds(self) -> Mapping[str, Array]:
        """One array per input; may be padded to the batch size a model insists on."""

    @property
    def labels(self) -> Array | None:
        """The right classes (size,), if known."""

    @property
    def size(self) -> int:
        """How many samples are valid; the rest is padding."""

    @property
    def whole(self) -> bool:
        """Whether it is one complete feed, in which nothing is padding."""


class Runner(Protocol):
    """What runs a model here: a `session.Session` or a `graph.reference.ReferenceRunner`."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs for `feeds`."""


@dataclass(frozen=True)
class _Setup:
    """How two models are compared.

    Attributes:
        reference: the input model.
        candidates: mode → the result.
        engine: what runs them.
        own: mode → the input model run that way, where it is the better reference: optimisers replace quantised
            operators by integer kernels, which round differently on purpose.
    """

    reference: Runner
    candidates: Mapping[str, Runner]
    engine: str
    own: Mapping[str, Runner] = field(default_factory=dict)


def verify(
    before: ModelOrPath,
    after: ModelOrPath,
    batches: Iterable[Batch],
    *,
    depth: int,
    config: SessionConfig = _DEFAULT,
    source: str = "",
    disjoint: bool = False,
) -> Verdict:
    """Whether `after` computes what `before` computes, in constant memory.

    The reference is `before` with the runtime's optimiser off, as the optimiser does some of our rewrites itself and
    would hide errors. `after` runs twice: with the optimiser off, and on, as users will run it (quantised models are
    compared optimised with optimised then, as integer kernels round differently). Where onnxruntime
    cannot run `before`, both run in `onnx.reference`; the verdict's `engine` says so.

    Args:
        before, after: in memory or as a path; operators that draw random numbers without a seed get one.
        batches: data; outputs are cut to the valid samples.
        depth: weighted operators on the longest path of `before`, for `tolerance`.
        config: provider and threads; its `optimise` is not used.
        source, disjoint: for the record.

    Raises:
        UnreadableError: a path holds no ONNX model.
        UnsupportedError: nothing here can run `before`, or not on these data.
    """
    engine = f"onnxruntime ({config.provider})"
    before, after = seeded(before), seeded(after)
    try:
        setup = _open(before, after, config)
    except _ResultCannotRunError as error:
        return Verdict(False, reason=str(error), source=source, disjoint=disjoint, engine=engine)
    differences = _interface_differences(setup)
    if differences:
        reason = f"inputs or outputs changed: {differences[0]}"
        return Verdict(
            False, interface=differences, reason=reason, source=source, disjoint=disjoint, engine=setup.engine
        )
    errors: dict[tuple[str, str], OutputErrors] = {}
    task, samples, failure = TaskCounts(), 0, ""
    for batch in batches:
        samples += batch.size
        try:
            task += _compare_batch(setup, batch, errors)
        except _ResultCannotRunError as error:
            failure = str(error)
            break
        if any(found.problem for found in errors.values()):
            break
    verdict = judge(
        errors,
        task,
        samples=samples,
        precision=coarsest_precision(before),
        depth=depth,
        source=source,
        disjoint=disjoint,
        engine=setup.engine,
    )
    return replace(verdict, passed=False, reason=failure) if failure else verdict


class _ResultCannotRunError(Exception):
    """The input model runs and the result does not: a failed verification, not an unsupported model."""


def _open(before: ModelOrPath, after: ModelOrPath, config: SessionConfig) -> _Setup:
    off, on = replace(config, optimise=False), replace(config, optimise=True)
    try:
        reference = open_session(before, off)
    except UnsupportedError as error:
        return _open_reference(before, after, error)
    try:
        candidates = {"optimiser off": open_session(after, off), "optimiser on": open_session(after, on)}
    except UnsupportedError as error:
        raise _ResultCannotRunError(f"the input model runs and the result does not: {error}") from error
    own = {"optimiser on": open_session(before, on)} if coarsest_precision(before) == "int8" else {}
    return _Setup(reference, candidates, f"onnxruntime ({reference.provider})", own)


def _open_reference(before: ModelOrPath, after: ModelOrPath, cause: UnsupportedError) -> _Setup:
    LOG.warning("verifying with onnx.reference, as %s", cause)
    try:
        reference = ReferenceRunner(before)
    except UnsupportedError as error:
        raise UnsupportedError(f"nothing here can run the model: {cause}; {error}") from error
    try:
        candidates = {"onnx.reference": ReferenceRunner(after)}
    except UnsupportedError as error:
        raise _ResultCannotRunError(f"the input model runs and the result does not: {error}") from error
    return _Setup(reference, candidates, f"onnx.reference, as {cause}")


def _compare_batch(setup: _Setup, batch: Batch, errors: dict[tuple[str, str], OutputErrors]) -> TaskCounts:
    """Add one batch to `errors`; return its task counts, those of the result as users run it."""
    wanted = _run(setup.reference, batch)
    got: list[Array] = []
    for mode, candidate in setup.candidates.items():
        try:
            got = _run(candidate, batch)
        except UnsupportedError as error:
            raise _ResultCannotRunError(f"the input model runs and the result ({mode}) does not: {error}") from error
        expected = _run(setup.own[mode], batch) if mode in setup.own else wanted
        for port, reference, result in zip(setup.reference.outputs, expected, got, strict=True):
            key = (port.name, mode)
            errors[key] = errors.get(key, OutputErrors()) + compare_arrays(reference, result, batch.size)
    labels = None if batch.labels is None else np.asarray(batch.labels)[: batch.size]
    return count_task(wanted, got, labels)


def _run(runner: Runner, batch: Batch) -> list[Array]:
    """Outputs without the rows that come from padding."""
    padded = next((array.shape[0] for array in batch.feeds.values() if array.ndim), batch.size)
    arrays = [as_array(value) for value in runner.run(batch.feeds)]
    if batch.whole or padded <= batch.size:
        return arrays
    return [array[: batch.size] if array.ndim and array.shape[0] == padded else array for array in arrays]


def _interface_differences(setup: _Setup) -> tuple[str, ...]:
    after = next(iter(setup.candidates.values()))
    return (
        *_port_differences("input", setup.reference.inputs, after.inputs),
        *_port_differences("output", setup.reference.outputs, after.outputs),
    )


def _port_differences(kind: str, before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> list[str]:
    names, names_after = [port.name for port in before], [port.name for port in after]
    if names != names_after:
        return [f"{kind}s {', '.join(names_after) or 'none'} instead of {', '.join(names) or 'none'}"]
    found = []
    for old, new in zip(before, after, strict=True):
        if old.dtype != new.dtype:
            found.append(f"{kind} {old.name} has type {new.dtype} instead of {old.dtype}")
        if not _compatible(old.shape, new.shape):
            found.append(f"{kind} {old.name} has shape {new.shape} instead of {old.shape}")
    return found


def _compatible(old: Shape | None, new: Shape | None) -> bool:
    """Whether some array has both shapes; runtimes infer more or fewer sizes of the same output."""
    if old is None or new is None:
        return True
    pairs = zip(old, new, strict=False)
    return len(old) == len(new) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
