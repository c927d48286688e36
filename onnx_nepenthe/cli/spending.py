"""Options on what may be paid for speed."""

from __future__ import annotations

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
