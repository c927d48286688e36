"""One run on a model of whatever kind: load, do the work, write. Behind the command line and the Python interface."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from onnx_nepenthe import pipeline
from onnx_nepenthe.blaming import blamed
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.kinds import AnyModel, from_ir, to_ir, unchanged
from onnx_nepenthe.graph.save import check_target, copy, save
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.options import LatencyMode, Options, Progress
from onnx_nepenthe.outcome import Inspection, Outcome
from onnx_nepenthe.recipe import Recipe
from onnx_nepenthe.replaying import apply_recipe
from onnx_nepenthe.report.json import plain
from onnx_nepenthe.report.words import closing_line
from onnx_nepenthe.rules import check_rules
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources import SourceOptions

__all__ = [
    "AnyModel",
    "Arguments",
    "Inspection",
    "Outcome",
    "collapse",
    "inspect",
    "options_from",
    "recipe_of",
    "resolved",
]

EVERY_INPUT = "*"
"""Stands for all inputs of float type in `Options.input_ranges`."""
_FLOATS = ("float", "float16", "bfloat16", "double")
PathLike = str | os.PathLike[str]


class Arguments(TypedDict, total=False):
    """Keyword arguments of the Python interface: the fields of `options.Options`, some in a handier form.

    `input_ranges` may be one (low, high) for all inputs; `provider`, `threads` and `custom_ops` stand for `config`;
    `custom_ops` and `skip` take any iterable and `cache` a path as text.
    """

    source: SourceOptions
    input_ranges: Mapping[str, tuple[float, float]] | tuple[float, float]
    prove_budget_s: float
    prove_work: float
    proved_only: bool
    latency: LatencyMode
    config: SessionConfig
    provider: str
    threads: int
    custom_ops: Iterable[PathLike]
    batch: int
    latency_batch: int
    seed: int
    limit: int | None
    verify_limit: int | None
    skip: Iterable[str]
    freeze_initializers: bool
    inline_functions: bool
    measurement: Measurement | None
    against: Measurement | None
    scan: bool | None
    line_sums: bool
    by_class: bool
    max_flip_rate: float | None
    latency_table: Path | None
    max_drop: float | None
    target_speedup: float | None
    metric: str
    fit_limit: int | None
    tune_limit: int | None
    price_limit: int | None
    cache: PathLike | None
    progress: Progress


def options_from(data: object = None, arguments: Arguments | None = None) -> Options:
    """The options that keyword arguments mean.

    Raises:
        UsageError: an unknown rule in `skip`.
        TypeError: an argument there is no option for.
    """
    given: dict[str, Any] = dict(arguments or {})
    config = given.pop("config", SessionConfig())
    config = replace(config, **{name: given.pop(name) for name in ("provider", "threads") if name in given})
    config = replace(config, custom_ops=tuple(os.fspath(path) for path in given.pop("custom_ops", config.custom_ops)))
    if isinstance(given.get("input_ranges"), tuple):
        given["input_ranges"] = {EVERY_INPUT: given["input_ranges"]}
    if given.get("cache") is not None:
        given["cache"] = Path(given["cache"])
    given["skip"] = check_rules(given.get("skip", ()))
    return Options(data=data, config=config, **given)


def inspect(model: AnyModel, options: Options) -> Inspection:
    """What there is in `model` and what could go; nothing is changed.

    Raises:
        NepentheError: an unreadable model or data, or a model that cannot be run on them.
    """
    own, _ = to_ir(model)
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else _name(own)
    with blamed(own, name, options.config):
        return pipeline.inspect(own, name, resolved(options, own))


def collapse(
    model: AnyModel, output: PathLike | None, options: Options, plan: Recipe | None = None
) -> tuple[Any, Outcome]:
    """Collapse `model`, which is not changed; as `plan` says where there is one.

    Returns:
        A model of the kind that came in, for a path the Path written; and how it went. When nothing could be
        collapsed, the first is the object that came in (of an ONNXProgram its ModelProto), or the path of a copy.

    Raises:
        VerificationError: the result differs from its input; nothing was written.
        NepentheError: an unreadable model or data, or a model that cannot be run on them.
    """
    if not isinstance(model, str | os.PathLike):
        return _collapse_object(model, output, options, plan)
    if output is None:
        raise UsageError("a model given as a path needs `output`, the path of the result")
    own, _ = to_ir(model)
    name = os.fspath(model)
    check_target(output, own, model)
    outcome = _outcome(own, name, options, plan)
    options.progress("writing", 0, None)
    if outcome.is_collapsed:
        save(outcome.model, output, source=model, original=own)
    else:
        copy(model, output, original=own)
    return Path(output), _with_words(outcome, name, Path(output), options)


def recipe_of(model: AnyModel, outcome: Outcome) -> Recipe:
    """What `collapse` did to `model`, to be done again.

    Args:
        model: what `collapse` was given.
        outcome: what it gave.
    """
    own, _ = to_ir(model)
    result = own if outcome.model is None else outcome.model
    frozen, inlined = (
        bool(outcome.options.get(name)) and outcome.is_collapsed for name in ("freeze_initializers", "inline_functions")
    )
    return Recipe(digest(own), digest(result), frozen, outcome.steps, plain(outcome.options), outcome.price, inlined)


def _outcome(own: Model, name: str, options: Options, plan: Recipe | None) -> Outcome:
    with blamed(own, name, options.config):
        known = resolved(options, own)
        return pipeline.collapse(own, name, known) if plan is None else apply_recipe(own, name, plan, known)


def _collapse_object(
    model: AnyModel, output: PathLike | None, options: Options, plan: Recipe | None
) -> tuple[Any, Outcome]:
    own, kind = to_ir(model)
    if output is not None:
        raise UsageError(f"`output` is for a model given as a path; the result of a {kind.value} is returned")
    name = _name(own)
    outcome = _outcome(own, name, options, plan)
    result = from_ir(outcome.model, kind) if outcome.is_collapsed else unchanged(model, kind)
    return result, _with_words(outcome, name, None, options)


def resolved(options: Options, model: Model) -> Options:
    """The options with input ranges by input name.

    Raises:
        UsageError: a range for an input that the model has not got, or one that holds no number.
    """
    if not options.input_ranges:
        return options
    view = view_from_model(model)
    names = [name for name in view.inputs if name not in view.overridable]
    ranges = dict(options.input_ranges)
    for name, (low, high) in ranges.items():
        if not low <= high:
            raise UsageError(f"the input range {low:g}:{high:g} is empty; give LOW:HIGH")
        if name not in (*names, EVERY_INPUT):
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its inputs are {', '.join(map(repr, names))}"
            raise UsageError(f"the model has no input {name!r} to give a range for; {hint}")
    every = ranges.pop(EVERY_INPUT, None)
    if every is not None:
        floats = [name for name in names if view.tensors[name].dtype in _FLOATS]
        ranges = dict.fromkeys(floats, every) | ranges
    return replace(options, input_ranges=ranges)


def _name(own: Model) -> str:
    return own.graph.name or "the model"


def _with_words(outcome: Outcome, name: str, output: Path | None, options: Options) -> Outcome:
    """The outcome with its options in full and its last line for the user."""
    return replace(outcome, options=options_record(options), message=closing_line(outcome, name, output))


def options_record(options: Options) -> dict[str, Any]:
    """The options as plain data, for reports."""
    source = options.source
    return {
        "data": None if options.data is None else _as_text(options.data),
        "input_ranges": {name: list(ends) for name, ends in options.input_ranges.items()},
        **{name: getattr(options, name) for name in _PROVING},
        "provider": options.config.provider,
        "threads": options.config.threads,
        "custom_ops": list(options.config.custom_ops),
        **{name: getattr(options, name) for name in _SAMPLES},
        "skip": sorted(options.skip),
        "freeze_initializers": options.freeze_initializers,
        "inline_functions": options.inline_functions,
        "measurement": options.measurement is not None,
        "against": options.against is not None,
        "scan": options.scan,
        "line_sums": options.line_sums,
        "by_class": options.by_class,
        "latency_table": None if options.latency_table is None else os.fspath(options.latency_table),
        "max_flip_rate": options.max_flip_rate,
        **{name: getattr(options, name) for name in _SPENDING},
        "source": {name: getattr(source, name) for name in source.__dataclass_fields__ if name not in _REPEATED},
    }


_REPEATED = ("seed", "limit")
_PROVING = ("prove_budget_s", "prove_work", "proved_only", "latency")
_SAMPLES = ("batch", "latency_batch", "seed", "limit", "verify_limit")
_SPENDING = ("max_drop", "target_speedup", "metric", "fit_limit", "tune_limit", "price_limit")


def _as_text(data: object) -> str:
    return os.fspath(data) if isinstance(data, str | os.PathLike) else f"{type(data).__module__}.{type(data).__name__}"
