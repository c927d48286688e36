"""`verify`: do two models compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.cli.app import Command
from onnx_nepenthe.cli.output import Output, check_paths
from onnx_nepenthe.cli.parameters import FILE, common, data, input_range, options_from
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.report.json import record_of_verdict
from onnx_nepenthe.report.terminal import print_verdict
from onnx_nepenthe.report.words import comparison_line
from onnx_nepenthe.session import environment
from onnx_nepenthe.verification import verify_files


@click.command(cls=Command)
@click.argument("before", metavar="A", type=FILE)
@click.argument("after", metavar="B", type=FILE)
@data
@input_range
@common
@click.pass_context
def verify(ctx: click.Context, /, before: Path, after: Path, **given: Any) -> int:
    """Compare the outputs of B with those of A, and their accuracy when the data have labels.

    A runs with onnxruntime's optimiser off. The tolerance follows from the type and depth of A. Exit code 3: they
    differ. Without --data the inputs are seeded random numbers. `--data package.module:callable` imports that module
    and calls it: it runs code.

    \b
    Example:
      onnx-nepenthe verify model.onnx model.collapsed.onnx --data test.npz
    """
    check_paths({"A": before, "--json": given["json_path"]})
    check_paths({"B": after, "--json": given["json_path"]})
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        options = options_from(given, bars)
        verdict = verify_files(before, after, options)
    line = comparison_line(verdict, str(before), str(after))
    record = record_of_verdict(
        verdict,
        (str(before), str(after)),
        message=line,
        environment=environment(options.config),
        command=ctx.obj or "",
    )
    output.write_json(record)
    output.show(lambda console: print_verdict(console, verdict), line)
    return 0 if verdict.passed else VerificationError.exit_code
