"""Run two models on the same data and compare what comes out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.reference import ReferenceRunner, coarsest_precision
from onnx_nepenthe.graph.seeding import seeded
from onnx_nepenthe.graph.serial import LARGEST_MESSAGE_BYTES, Model, weight_bytes
from onnx_nepenthe.session import SessionConfig, open_session
from onnx_nepenthe.verify.differences import OutputErrors, as_array, compare_arrays
from onnx_nepenthe.verify.ports import port_differences
from onnx_nepenthe.verify.resting import Resting, Runner
from onnx_nepenthe.verify.verdict import TaskCounts, Verdict, count_task, judge

LOG = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_DEFAULT = SessionConfig()
ModelOrPath = Model | str | Path
HELD_BYTES = 1 << 28
"""Input and output that are held while large models take turns."""


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


_Pair = tuple[Batch, list[Array]]


@dataclass(frozen=True)
class _Setup:
    """How two models are compared.

    Attributes:
        reference: the input model.
        candidates: mode → the result.
        engine: what runs them.
        own: mode → the input model run that way, where it is the better reference: optimisers replace quantised
            operators by integer kernels, which round differently on purpose.
        in_turn: whether the models are too large for several sessions that each have a copy of the weights.
    """

    reference: Runner
    candidates: Mapping[str, Runner]
    engine: str
    own: Mapping[str, Runner] = field(default_factory=dict)
    in_turn: bool = False


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
    found = _Found()
    try:
        for group in _grouped(batches, setup, found):
            found.task += _compare_group(setup, group, found.errors)
            if any(errors.problem for errors in found.errors.values()):
                break
    except _ResultCannotRunError as error:
        found.failure = str(error)
    verdict = judge(
        found.errors,
        found.task,
        samples=found.samples,
        precision=coarsest_precision(before),
        depth=depth,
        source=source,
        disjoint=disjoint,
        engine=setup.engine,
    )
    return replace(verdict, passed=False, reason=found.failure) if found.failure else verdict


@dataclass
class _Found:
    """What the batches so far have shown."""

    errors: dict[tuple[str, str], OutputErrors] = field(default_factory=dict)
    task: TaskCounts = field(default_factory=TaskCounts)
    samples: int = 0
    failure: str = ""


class _ResultCannotRunError(Exception):
    """The input model runs and the result does not: a failed verification, not an unsupported model."""


def _open(before: ModelOrPath, after: ModelOrPath, config: SessionConfig) -> _Setup:
    off, on = replace(config, optimise=False), replace(config, optimise=True)
    try:
        reference = open_session(before, off)
    except UnsupportedError as error:
        return _open_reference(before, after, error)
    in_turn = any(isinstance(model, Model) and weight_bytes(model) > LARGEST_MESSAGE_BYTES for model in (before, after))

    def opened(model: ModelOrPath) -> Runner:
        return Resting(lambda: open_session(model, on), reference) if in_turn else open_session(model, on)

    try:
        candidates = {"optimiser off": open_session(after, off), "optimiser on": opened(after)}
    except UnsupportedError as error:
        raise _ResultCannotRunError(f"the input model runs and the result does not: {error}") from error
    own = {"optimiser on": opened(before)} if coarsest_precision(before) == "int8" else {}
    return _Setup(reference, candidates, f"onnxruntime ({reference.provider})", own, in_turn)


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


def _grouped(batches: Iterable[Batch], setup: _Setup, found: _Found) -> Iterator[list[_Pair]]:
    """Batches and what the reference makes of them: one by one, or as many as are held while sessions take turns."""
    group: list[_Pair] = []
    for batch in batches:
        found.samples += batch.size
        group.append((batch, _run(setup.reference, batch)))
        if not setup.in_turn or _held_bytes(group) > HELD_BYTES:
            yield group
            group = []
    if group:
        yield group


def _held_bytes(group: Sequence[_Pair]) -> int:
    return sum(array.nbytes for batch, wanted in group for array in (*batch.feeds.values(), *wanted))


def _compare_group(setup: _Setup, group: Sequence[_Pair], errors: dict[tuple[str, str], OutputErrors]) -> TaskCounts:
    """Add batches to `errors`; return their task counts, those of the result as users run it."""
    results: list[list[Array]] = []
    for mode, candidate in setup.candidates.items():
        try:
            results = _run_all(candidate, group)
        except UnsupportedError as error:
            raise _ResultCannotRunError(f"the input model runs and the result ({mode}) does not: {error}") from error
        expected = _run_all(setup.own[mode], group) if mode in setup.own else [wanted for _, wanted in group]
        for (batch, _), references, got in zip(group, expected, results, strict=True):
            for port, reference, result in zip(setup.reference.outputs, references, got, strict=True):
                key = (port.name, mode)
                errors[key] = errors.get(key, OutputErrors()) + compare_arrays(reference, result, batch.size)
    task = TaskCounts()
    for (batch, wanted), got in zip(group, results, strict=True):
        labels = None if batch.labels is None else np.asarray(batch.labels)[: batch.size]
        task += count_task(wanted, got, labels)
    return task


def _run_all(runner: Runner, group: Sequence[_Pair]) -> list[list[Array]]:
    results = [_run(runner, batch) for batch, _ in group]
    if isinstance(runner, Resting):
        runner.rest()
    return results


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
        *port_differences("input", setup.reference.inputs, after.inputs),
        *port_differences("output", setup.reference.outputs, after.outputs),
    )
