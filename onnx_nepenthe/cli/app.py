"""The command, how it is called and how it ends."""

from __future__ import annotations

import io
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from onnx_nepenthe import __version__
from onnx_nepenthe.cli.failing import exit_code_of, out_of_memory, say_bug, say_error
from onnx_nepenthe.cli.output import Output
from onnx_nepenthe.cli.stopping import check_stopped
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.report.json import record_of_error
from onnx_nepenthe.session import environment

NAME = "onnx-nepenthe"


class Command(click.Command):
    """A sub-command whose failures are one line, and a JSON record where one was asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """The exit code."""
        try:
            return super().invoke(ctx)
        except (NepentheError, MemoryError) as error:
            check_stopped()
            own = error if isinstance(error, NepentheError) else out_of_memory(error)
            code = say_error(own)
            _record(ctx, own)
            return code
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            check_stopped()
            if ctx.params.get("verbose"):
                traceback.print_exc()
            return say_bug(error)


def _record(ctx: click.Context, error: NepentheError) -> None:
    try:
        output = Output(ctx.params.get("json_path"), is_quiet=True, verbosity=0)
        output.write_json(record_of_error(error, ctx.info_name or "", ctx.obj or ""))
    except NepentheError as second:
        say_error(second)


class App(click.Group):
    """The group of sub-commands."""

    command_class = Command

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run and exit with the code of DESIGN.md, whatever happens."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that has no arrows gets question marks, not an error.
                stream.reconfigure(errors="replace")
        given = list(sys.argv[1:] if args is None else args)
        extra |= {"standalone_mode": False, "obj": shlex.join([NAME, *given])}
        extra.setdefault("prog_name", NAME)
        sys.exit(exit_code_of(lambda: super(App, self).main(given, *rest, **extra)))


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(f"{NAME} {__version__}")
    try:
        versions = environment()
        for name in ("onnx", "onnx_ir", "onnxruntime", "providers", "numpy", "python"):
            click.echo(f"{name} {versions[name]}")
    except NepentheError as error:
        click.echo(str(error))
    ctx.exit()


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version and those of onnx, onnx_ir and onnxruntime with its providers.",
)
def app() -> None:
    """Make ONNX models shallower: the same numbers, never slower.

    \b
    onnx-nepenthe inspect model.onnx --data calibration.npz
    onnx-nepenthe collapse model.onnx --data calibration.npz
    onnx-nepenthe verify model.onnx model.collapsed.onnx --data test.npz
    onnx-nepenthe bench model.onnx model.collapsed.onnx
    onnx-nepenthe prune resnet20 --data train.npz --collapse

    Exit codes: 0 written and verified (also when there was nothing to collapse: the result is then a copy and the
    last line says so), 1 model or data cannot be read or run, 2 wrong usage, 3 verification failed and nothing
    was written, 130 interrupted.

    Code runs only where you name it: package.module:callable after --data or --metric, or as the NETWORK of prune, and
    the libraries of --custom-ops. Nothing in a model, data, report or plan file is ever executed or unpickled.
    """
