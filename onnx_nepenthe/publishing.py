"""Write a Pareto front as a folder: models, their figures as JSON, a plot, a page."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_nepenthe import pipeline
from onnx_nepenthe.exploring import explore
from onnx_nepenthe.frontier import Frontier, Point
from onnx_nepenthe.graph.edit import freeze_initializers
from onnx_nepenthe.graph.folder import check_folder, staged_folder
from onnx_nepenthe.graph.kinds import AnyModel, to_ir
from onnx_nepenthe.graph.save import copy, save
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.options import Options
from onnx_nepenthe.report.front import record_of_frontier
from onnx_nepenthe.report.front_page import page_of_front
from onnx_nepenthe.report.json import text_from
from onnx_nepenthe.report.plot import plot_of
from onnx_nepenthe.run import options_record, resolved

__all__ = ["Frontier", "is_front", "publish"]

MANIFEST = "frontier.json"
PLOT = "frontier.svg"
PAGE = "frontier.html"
COMMAND = "pareto"


def publish(
    model: AnyModel,
    folder: str | os.PathLike[str],
    options: Options,
    drops: tuple[float, ...],
    *,
    command: str = "",
) -> Frontier:
    """Explore the front of `model` and write it as `folder`, all of it or nothing.

    A folder of that name is replaced when it holds nothing but an earlier front, and refused when it holds anything
    else.

    Args:
        model: not changed.
        folder: where.
        options: of the run.
        drops: the budgets in points; see `exploring.ladder`.
        command: as typed, for the record.

    Raises:
        UsageError: `folder` has other files, or options that contradict each other.
        NepentheError: an unreadable model or data, or a folder that cannot be written.
    """
    target = Path(folder)
    check_folder(target, is_front)
    own, _ = to_ir(model)
    source = Path(model) if isinstance(model, str | os.PathLike) else None
    name = os.fspath(source) if source is not None else own.graph.name or "the model"
    start = freeze_initializers(own) if options.freeze_initializers else own
    free = replace(options, freeze_initializers=False)
    front = explore(start, name, resolved(free, start), drops, pipeline.collapse)
    front = replace(front, options=options_record(options))
    options.progress("writing", 0, None)
    with staged_folder(target, is_front) as draft:
        for point in front.points:
            _write(point, start, source if start is own else None, draft)
        (draft / PLOT).write_text(plot_of(front), encoding="utf-8", newline="\n")
        files = sorted([*(file.name for file in draft.iterdir()), MANIFEST, PAGE])
        record = record_of_frontier(front, command=command) | {"files": files}
        (draft / PAGE).write_text(page_of_front(record), encoding="utf-8", newline="\n")
        (draft / MANIFEST).write_text(text_from(record), encoding="utf-8", newline="\n")
    return front


def _write(point: Point, start: Model, source: Path | None, draft: Path) -> None:
    path = draft / point.file
    if point.outcome.model is not None:
        save(point.outcome.model, path, source=source)
    elif source is not None:
        copy(source, path)
    else:
        save(start, path)


def is_front(folder: Path) -> bool:
    """Whether a folder holds a front and nothing else."""
    try:
        record: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return record["command"] == COMMAND and {file.name for file in folder.iterdir()} <= set(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
