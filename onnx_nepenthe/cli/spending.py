"""Options on what may be paid for speed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.cli import types
from onnx_nepenthe.cli.parameters import COUNT, FILE, together
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.metrics import METRICS, metric_of


def metric(ctx: click.Context, param: click.Parameter, text: Any) -> str:
    """The name of a metric, checked before any work."""
    if text and ":" not in text:
        try:
            metric_of(text)
        except UsageError as error:
            raise click.BadParameter(str(error), ctx=ctx, param=param) from None
    return text or ""


def check_spending(given: Mapping[str, Any], apply_path: Path | None = None) -> None:
    """Refuse options on what may be paid that would be without effect.

    Args:
        given: parameters of the command.
        apply_path: of the plan to apply, if any.

    Raises:
        click.UsageError: a metric and nothing to count in it; a budget and no data to spend it on; a budget beside a
            plan, which has its own.
    """
    budget = [name for name, key in _BUDGETS.items() if given.get(key) is not None]
    is_bought = bool(budget) or given.get("pareto") is not None
    if apply_path is not None and (budget or given["metric"]):
        wrong = " and ".join([*budget, *["--metric"] * bool(given["metric"])])
        raise click.UsageError(f"--apply does what its plan says; leave out {wrong}")
    if given["metric"] and not is_bought:
        raise click.UsageError("--metric is what a budget is counted in; give --max-drop, --target-speedup or --pareto")
    if is_bought and given["proved_only"]:
        raise click.UsageError("--proved-only decides nothing on data, and a budget is spent on data; leave out one")


_BUDGETS = {"--max-drop": "max_drop", "--target-speedup": "target_speedup"}

spending = together(
    click.option(
        "--max-drop",
        type=click.FloatRange(min=0),
        metavar="POINTS",
        help="Be as fast as possible for at most so many points of --metric, without training; needs --data. Fits, "
        "choices and the proof of the price each use samples of their own.",
    ),
    click.option(
        "--target-speedup",
        type=click.FloatRange(min=1, min_open=True),
        metavar="RATIO",
        help="Reach this speed-up at the least price; needs --data. Exit code 3 when it cannot be reached.",
    ),
    click.option(
        "--metric",
        callback=metric,
        metavar="NAME",
        help=f"What points are: {', '.join(METRICS)}, or package.module:callable (runs code). 100 is perfect. Default "
        "top1 with labels, agreement (with MODEL) for other classifiers, error (per cent of the outputs) else.",
    ),
    click.option(
        "--plan", "plan_path", metavar="JSON", type=FILE, help="Write what was done, with every number, to do it again."
    ),
    click.option(
        "--apply",
        "apply_path",
        metavar="JSON",
        type=FILE,
        help="Do what a plan says, bit for bit; --data, if given, serve to verify. Refuses other models.",
    ),
    click.option(
        "--pareto",
        metavar="DIR",
        type=FILE,
        help="Write a folder of models to pick from instead: the exact one, and the best for each of --drops that is "
        "clearly faster than those that cost no more points, bytes and depth; with frontier.json, .svg and .html. A "
        "folder of that name is replaced when it is an earlier one, and refused when it has anything else in it.",
    ),
    click.option(
        "--drops",
        type=types.numbers,
        metavar="POINTS,…",
        help="Budgets for --pareto. Default 0 and an eighth, a quarter, half and all of --max-drop, which is 4 if "
        "not given.",
    ),
    click.option("--fit-limit", type=COUNT, default=1024, show_default=True, help="Samples to fit on at most."),
    click.option("--tune-limit", type=COUNT, default=4096, show_default=True, help="Samples to choose on at most."),
    click.option(
        "--price-limit",
        type=COUNT,
        default=4096,
        show_default=True,
        help="Verification samples to take a price on at most; fewer give a wider interval.",
    ),
)
