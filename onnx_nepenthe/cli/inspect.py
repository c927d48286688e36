"""`inspect`: what is in a model, and what could go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_nepenthe import run
from onnx_nepenthe.cli.app import Command
from onnx_nepenthe.cli.output import Output, check_paths
from onnx_nepenthe.cli.parameters import FILE, common, data, model, options_from
from onnx_nepenthe.report.json import record_of_inspection
from onnx_nepenthe.report.terminal import print_inspection
from onnx_nepenthe.report.words import inspection_line


@click.command(cls=Command)
@click.argument("path", metavar="MODEL", type=FILE)
@data
@model
@common
@click.pass_context
def inspect(ctx: click.Context, /, path: Path, **given: Any) -> None:
    """Show the rectifiers of MODEL: regimes, entropy, which could go and why not. Changes nothing.

    Without --data only what can be proved from the graph is decided. `--data package.module:callable` imports that
    module and calls it: it runs code.

    \b
    Example:
      onnx-nepenthe inspect model.onnx --data calibration.npz
    """
    check_paths({"the model": path, "--json": given["json_path"]})
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        options = options_from(given, bars)
        inspection = run.inspect(path, options)
    line = inspection_line(inspection)
    record = record_of_inspection(inspection, message=line, options=run.options_record(options), command=ctx.obj or "")
    output.write_json(record)
    output.show(lambda console: print_inspection(console, inspection, everything=output.everything), line)
