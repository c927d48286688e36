"""`collapse --pareto`: a folder of models to pick from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.cli.measuring import with_measurements
from onnx_nepenthe.cli.output import Output, check_paths
from onnx_nepenthe.cli.parameters import options_from
from onnx_nepenthe.publishing import publish
from onnx_nepenthe.report.front import frontier_line, print_frontier, record_of_frontier


def collapse_to_front(path: Path, folder: Path, given: dict[str, Any], single: dict[str, Any], command: str) -> None:
    """Write the front of the model at `path` as `folder`.

    Args:
        path: of the model.
        folder: where; replaced when it is an earlier front.
        given: parameters of the command.
        single: option → value, for those that are about a single result.
        command: as typed.

    Raises:
        click.UsageError: one of `single` is given.
    """
    wrong = [name for name, value in single.items() if value is not None]
    if wrong:
        raise click.UsageError(f"--pareto writes a folder of models; leave out {' and '.join(wrong)}")
    check_paths({"the model": path, "--json": given["json_path"]})
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        options = with_measurements(options_from(given, bars), given)
        front = publish(path, folder, options, given["drops"] or (), command=command)
    line = frontier_line(front, folder)
    output.write_json(record_of_frontier(front, message=line, command=command))
    output.show(lambda console: print_frontier(console, front), line)
