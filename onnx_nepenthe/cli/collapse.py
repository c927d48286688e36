"""`collapse`: make a model shallower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnx_nepenthe import run
from onnx_nepenthe.cli.app import Command
from onnx_nepenthe.cli.front import collapse_to_front
from onnx_nepenthe.cli.measuring import collapsing, with_measurements
from onnx_nepenthe.cli.output import Output, check_paths
from onnx_nepenthe.cli.parameters import COUNT, FILE, common, data, model, options_from, user_cache
from onnx_nepenthe.cli.spending import check_spending, spending
from onnx_nepenthe.recipe import read_recipe, text_of
from onnx_nepenthe.report.html import page_from
from onnx_nepenthe.report.json import record_of_outcome
from onnx_nepenthe.report.terminal import print_outcome


@click.command(cls=Command)
@click.argument("path", metavar="MODEL", type=FILE)
@click.option("-o", "--output", "out", metavar="OUT", type=FILE, help="Result; default MODEL.collapsed.onnx.")
@data
@collapsing
@spending
@model
@click.option(
    "--latency",
    type=click.Choice(["measured", "macs", "off"]),
    default="measured",
    show_default=True,
    help="Accept a composition when it is measured to be faster here, when it has fewer multiply-adds, or always.",
)
@click.option("--latency-batch", type=COUNT, default=1, show_default=True, help="Samples per run that is timed.")
@click.option(
    "--latency-table",
    metavar="JSON",
    type=FILE,
    help="Costs from `bench --table` on the device that the result is for; nothing is timed here, what the table says "
    "is slower is never chosen, and the same command gives the same model.",
)
@click.option("--verify-limit", type=COUNT, default=512, show_default=True, help="Samples to verify on at most.")
@click.option(
    "--report",
    metavar="PATH.html",
    type=FILE,
    help="Write the report as a page that needs no network; "
    "it shows the entropy of every rectifier, so all of them are counted to the end unless --scan says otherwise.",
)
@click.option(
    "--cache", metavar="DIR", type=FILE, help="Where timings of operators are kept; default the user's cache folder."
)
@click.option("--no-cache", is_flag=True, help="Neither read nor keep timings.")
@common
@click.pass_context
def collapse(
    ctx: click.Context,
    /,
    path: Path,
    out: Path | None,
    report: Path | None,
    cache: Path | None,
    no_cache: bool,
    plan_path: Path | None,
    apply_path: Path | None,
    pareto: Path | None,
    **given: Any,
) -> None:
    """Remove the rectifiers of MODEL that are lines and compose the operators around them.

    With --max-drop or --target-speedup, parts that are no lines are replaced by fitted operators too.

    The result is verified against MODEL and timed against it; MODEL is never changed. Without --data only what can
    be proved from the graph is used. `--data package.module:callable` imports that module and calls it: it runs code.

    \b
    Example:
      onnx-nepenthe collapse model.onnx --data calibration.npz -o shallower.onnx
      onnx-nepenthe collapse model.onnx --data labelled.npz --max-drop 1 -o faster.onnx
      onnx-nepenthe collapse model.onnx --data labelled.npz --pareto models
    """
    check_spending(given | {"pareto": pareto}, apply_path)
    given["cache"] = None if no_cache else cache or user_cache()
    if pareto is not None:
        single = {"-o": out, "--report": report, "--plan": plan_path, "--apply": apply_path}
        collapse_to_front(path, pareto, given, single, ctx.obj or "")
        return
    if report is not None and given["scan"] is None:
        # A scan stops counting once a rectifier cannot be a line; the page shows the entropy of all of them.
        given["scan"] = False
    if given.pop("drops") is not None:
        raise click.UsageError("--drops are budgets for --pareto; give that too, or one budget with --max-drop")
    target = out or path.with_name(f"{path.stem}.collapsed.onnx")
    check_paths(
        {"the model": path, "the result": target, "--json": given["json_path"], "--report": report, "--plan": plan_path}
    )
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        plan = None if apply_path is None else read_recipe(apply_path)
        written, outcome = run.collapse(path, target, with_measurements(options_from(given, bars), given), plan)
        if plan_path is not None:
            output.write(plan_path, text_of(run.recipe_of(path, outcome)))
    record = record_of_outcome(outcome, output=written, command=ctx.obj or "")
    if report is not None:
        output.write(report, page_from(record))
    output.write_json(record)
    output.show(lambda console: print_outcome(console, outcome, everything=output.everything), outcome.message)
