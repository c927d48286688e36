"""Options that several commands share, and the records they become."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.cli import types
from onnx_nepenthe.options import Options, Progress
from onnx_nepenthe.rules import rules
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources import SourceOptions

Decorator = Callable[[Any], Any]
FILE = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
DATA_RUNS_CODE = "`--data package.module:callable` imports that module and calls it: it runs code."


def together(*decorators: Decorator) -> Decorator:
    """One decorator that applies several, the first on top."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _list_rules(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    for kind, names in rules().items():
        for name in names:
            click.echo(f"{kind:<10} {name}")
    ctx.exit()


list_rules = click.option(
    "--list-rules",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_rules,
    help="Name every rule and stop.",
)
threads = click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="Threads of one operator; 0: onnxruntime's choice."
)
common_but_threads = together(
    click.option("--json", "json_path", metavar="PATH", help="Write the report as JSON; - for stdout, and only that."),
    click.option("--provider", default="cpu", show_default=True, help="Where onnxruntime runs: cpu, cuda, tensorrt …"),
    click.option(
        "--custom-ops",
        multiple=True,
        metavar="LIB",
        help="Library with kernels of custom operators, for onnxruntime to load: it runs its code. Repeatable.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."),
    click.option("-q", "--quiet", is_flag=True, help="Print the last line only."),
    click.option("-v", "--verbose", count=True, help="Print everything and the log; -vv for more of the log."),
)
common = together(threads, common_but_threads)
data = together(
    click.option(
        "--data",
        metavar="D",
        help="A .npz (an array per input, optional labels), a folder of images in class folders, a folder of ONNX "
        "test_data_set_* folders, or package.module:callable (runs code).",
    ),
    click.option("--limit", type=COUNT, help="Samples to use at most."),
    click.option("--batch", type=COUNT, default=32, show_default=True, help="Samples per run."),
    click.option("--image-size", type=types.image_size, metavar="HxW", help="Images: size; default the model's."),
    click.option("--mean", type=types.numbers, metavar="N,…", help="Images: subtracted per channel, after --scale."),
    click.option("--std", type=types.numbers, metavar="N,…", help="Images: divided by per channel, after --mean."),
    click.option("--scale", type=float, help="Images: factor of the bytes; default 1/255."),
    click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Images: default seen from the model."),
    click.option("--colour", type=click.Choice(["rgb", "bgr"]), default="rgb", help="Images: order of the channels."),
    click.option("--resize", type=click.Choice(["crop", "stretch", "exact"]), default="crop", help="Images: how."),
    click.option("--workers", type=click.IntRange(min=0), default=0, help="Threads that read data ahead; 0: none."),
    click.option("--whole-feeds", is_flag=True, help="Every record is one complete feed: axis 0 is not the samples."),
)
input_range = click.option(
    "--input-range",
    "input_ranges",
    type=types.input_range,
    multiple=True,
    metavar="[NAME=]LOW:HIGH",
    help="What callers promise of an input, or of all; proofs use it. Repeatable.",
)
model = together(
    input_range,
    click.option(
        "--prove-budget",
        "prove_budget_s",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of proofs beyond interval arithmetic, 0 for none; the report says when it cut one off.",
    ),
    click.option(
        "--prove-work",
        type=click.FloatRange(min=0),
        default=2e10,
        metavar="N",
        help="Multiply-adds that those proofs may take; unlike a time it gives the same proofs on every machine. "
        "[default: 2e10]",
    ),
    click.option("--proved-only", is_flag=True, help="Decide nothing on data alone."),
    click.option(
        "--freeze-initializers",
        is_flag=True,
        help="Take weights that are also graph inputs for constants.",
    ),
    click.option(
        "--inline-functions", is_flag=True, help="Put the bodies of local functions in place of their calls first."
    ),
    click.option(
        "--skip-rule", "skip", type=types.rule, multiple=True, metavar="NAME", help="Do not use a rule. Repeatable."
    ),
    list_rules,
)


def options_from(given: Mapping[str, Any], progress: Progress) -> Options:
    """The options that a command's parameters mean; those it has not got keep their defaults.

    Raises:
        UsageError: image options that contradict each other.
    """
    plain = {name: given[name] for name in _PLAIN if name in given}
    return Options(
        source=SourceOptions(
            seed=given["seed"], **{name: given[name] for name in _SOURCE if given.get(name) is not None}
        ),
        input_ranges=dict(given.get("input_ranges", ())),
        config=SessionConfig(given["provider"], given["threads"], custom_ops=given.get("custom_ops", ())),
        skip=frozenset(given.get("skip", ())),
        progress=progress,
        **plain,
    )


_PLAIN = (
    *("data", "proved_only", "prove_budget_s", "prove_work", "latency", "batch", "latency_batch", "seed"),
    *(
        "limit",
        "verify_limit",
        "freeze_initializers",
        "inline_functions",
        "cache",
        "scan",
        "line_sums",
        "by_class",
        "max_flip_rate",
    ),
    *("max_drop", "target_speedup", "metric", "fit_limit", "tune_limit", "price_limit"),
    "latency_table",
)
_SOURCE = ("image_size", "mean", "std", "scale", "layout", "colour", "resize", "whole_feeds", "workers")


def user_cache() -> Path | None:
    """The folder for timings that are worth keeping; None when the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "onnx-nepenthe"
    except RuntimeError:
        return None
