"""Graph optimisers side by side: the same models, the same run, paired timings in this process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from benchmarks import readme
from benchmarks.cases import Case, cases
from benchmarks.optimisers import OPTIMISERS, Job, one_line, run, versions
from benchmarks.results import Counts, Row, Run

from onnx_nepenthe.graph.load import model_from_proto
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import side_of
from onnx_nepenthe.latency import compare, random_feeds
from onnx_nepenthe.session import SessionConfig, environment, open_session
from onnx_nepenthe.sources import SourceOptions, open_source

Feeds = Mapping[str, npt.NDArray[Any]]
CHECKED_BATCHES = 4
MARKER = "table"


@dataclass(frozen=True, eq=False)
class Subject:
    """A model ready to be compared with what tools make of it.

    Attributes:
        name, proto, model, data: the model, twice, and its calibration data.
        feeds: batches; the first one is timed.
        outputs: their names.
        expected: those of each batch, onnxruntime's optimiser off.
        counts: its size.
    """

    name: str
    proto: onnx.ModelProto
    model: Model
    data: Any
    feeds: Sequence[Feeds]
    outputs: Sequence[str]
    expected: Sequence[Sequence[npt.NDArray[Any]]]
    counts: Counts


def main(arguments: list[str]) -> int:
    """Print the table; see --help."""
    options = _parser().parse_args(arguments)
    try:
        chosen = cases(options.models, options.only, options.seed)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    rows = list(_rows(chosen, options))
    done = Run(rows, _facts(options) | {"made": [case.name for case in chosen if case.is_made]})
    print(done.markdown())
    if options.json is not None:
        options.json.write_text(json.dumps(done.json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.update_readme:
        readme.replace(MARKER, done.markdown())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/bench.py compare", description=__doc__)
    parser.add_argument("models", nargs="*", help="files or patterns, besides the bundled models and the made nets")
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="models whose name matches one")
    parser.add_argument("--tools", nargs="+", default=list(OPTIMISERS), choices=list(OPTIMISERS), metavar="TOOL")
    parser.add_argument("--budget", type=float, default=6.0, help="seconds of timing per tool and model (6)")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a tool may take on a model (600)")
    parser.add_argument("--threads", type=int, default=0, help="of onnxruntime; 0 leaves the number to it (0)")
    parser.add_argument("--batch", type=int, default=1, help="samples per timed run where the model allows it (1)")
    parser.add_argument("--latency", choices=("measured", "macs", "off"), default="measured", help="of our own run")
    parser.add_argument("--seed", type=int, default=0, help="of nets, inputs and intervals (0)")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--markdown", action="store_true", help="the table alone, no progress")
    parser.add_argument("--update-readme", action="store_true", help="put the table into README.md")
    return parser


def _rows(chosen: Sequence[Case], options: argparse.Namespace) -> Iterator[Row]:
    for case in chosen:
        try:
            subject = _subject(case, options)
        except Exception as error:
            yield Row(case.name, "–", None, failure=f"cannot be run here: {one_line(error)}")
            continue
        for tool in options.tools:
            if not options.markdown:
                print(f"{case.name}: {tool}", file=sys.stderr, flush=True)
            yield _row(subject, tool, options)


def _subject(case: Case, options: argparse.Namespace) -> Subject:
    proto, data = case.load()
    model = model_from_proto(proto)
    reference = open_session(model, SessionConfig(threads=options.threads, optimise=False))
    feeds = _feeds(reference.inputs, data, options)
    expected = [reference.run(batch) for batch in feeds]
    names = [output.name for output in reference.outputs]
    return Subject(case.name, proto, model, data, feeds, names, expected, _counts(model))


def _feeds(ports: Sequence[Any], data: Any, options: argparse.Namespace) -> list[Feeds]:
    """Batches of the data, or of seeded standard normal numbers."""
    if data is not None:
        source = open_source(data, ports, SourceOptions(seed=options.seed))
        batches = source.batches(options.batch)
        return [batch.feeds for batch, _ in zip(batches, range(CHECKED_BATCHES), strict=False)]
    rng = np.random.default_rng(options.seed)
    dims = {port.shape[0]: options.batch for port in ports if port.shape and isinstance(port.shape[0], str)}
    return [random_feeds(ports, dims, rng) for _ in range(CHECKED_BATCHES)]


def _counts(model: Model) -> Counts:
    side = side_of(view_from_model(model))
    return Counts(side.rectifiers, side.size.weighted_depth, side.size.nodes)


def _row(subject: Subject, tool: str, options: argparse.Namespace) -> Row:
    job = Job(
        subject.proto.SerializeToString(), subject.data, options.threads, options.batch, options.latency, options.seed
    )
    made = run(tool, job, options.limit)
    has_data = subject.data is not None
    row = Row(subject.name, tool, subject.counts, has_data=has_data, seconds=made.seconds, failure=made.failure)
    if made.model is None:
        return row
    try:
        return _measured(subject, onnx.load_from_string(made.model), row, options)
    except Exception as error:
        return replace(row, failure=f"its result cannot be run: {one_line(error)}")


def _measured(subject: Subject, proto: onnx.ModelProto, row: Row, options: argparse.Namespace) -> Row:
    after = model_from_proto(proto)
    checked = open_session(after, SessionConfig(threads=options.threads, optimise=False))
    found = [checked.run(batch, subject.outputs) for batch in subject.feeds]
    config = SessionConfig(threads=options.threads)
    before, result, control = (open_session(model, config) for model in (subject.model, after, subject.model))
    latency = compare(
        before,
        result,
        subject.feeds[0],
        rng=np.random.default_rng(options.seed),
        control=control,
        budget_s=options.budget,
        threads=options.threads,
    )
    error, largest = _difference(subject.expected, found)
    same = proto.graph == subject.proto.graph
    return replace(row, after=_counts(after), latency=latency, error=error, largest=largest, is_same=same)


def _difference(
    expected: Sequence[Sequence[npt.NDArray[Any]]], found: Sequence[Sequence[npt.NDArray[Any]]]
) -> tuple[float, float]:
    """(largest absolute difference, largest absolute value expected), in float64.

    Raises:
        ValueError: an output has another shape.
    """
    pairs = [
        (np.asarray(one, np.float64), np.asarray(other, np.float64))
        for batch, again in zip(expected, found, strict=True)
        for one, other in zip(batch, again, strict=True)
    ]
    if any(one.shape != other.shape for one, other in pairs):
        raise ValueError("an output has another shape than the input's")
    error = max(float(np.abs(one - other).max(initial=0.0)) for one, other in pairs)
    return error, max(float(np.abs(one).max(initial=0.0)) for one, _ in pairs)


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    machine = environment(SessionConfig(threads=options.threads))
    return {
        "tools": {name: version for name, version in versions().items() if name in options.tools},
        **machine,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "batch": options.batch,
        "seed": options.seed,
        "latency": options.latency,
        "budget_s": options.budget,
    }
