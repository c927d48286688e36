"""`inspect`: what is in a model, and what could go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_nepenthe import run
from onnx_nepenthe.cli.app import Command
from onnx_nepenthe.cli.measuring import inspecting, with_measurements
from onnx_nepenthe.cli.output import Output, check_paths
from onnx_nepenthe.cli.parameters import FILE, common, data, model, options_from
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.report.json import record_of_inspection
from onnx_nepenthe.report.terminal import print_inspection
from onnx_nepenthe.report.words import inspection_line


@click.command(cls=Command)
@click.argument("path", metavar="MODEL", type=FILE)
@inspecting
@data
@model
@common
@click.pass_context
def inspect(ctx: click.Context, /, path: Path, **given: Any) -> int:
    """Show the rectifiers of MODEL: regimes, entropy, which could go and why not. Changes nothing.

    Without --data only what can be proved from the graph is decided. `--data package.module:callable` imports that
    module and calls it: it runs code.

    Parts of the data can be measured apart, anywhere: --json keeps what was measured, `--merge SHARD…` adds it up.
    --against tells whether earlier decisions hold on other data, with exit code 3 if not.

    \b
    Example:
      onnx-nepenthe inspect model.onnx --data calibration.npz
    """
    check_paths({"the model": path, "--json": given["json_path"]})
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        options = with_measurements(options_from(given, bars), given)
        inspection = run.inspect(path, options)
    line = inspection_line(inspection)
    record = record_of_inspection(inspection, message=line, options=run.options_record(options), command=ctx.obj or "")
    output.write_json(record)
    output.show(lambda console: print_inspection(console, inspection, everything=output.everything), line)
    return VerificationError.exit_code if inspection.drifts else 0
