"""Options of `prune`: the network, its training, the method, when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from onnx_nepenthe.cli import types
from onnx_nepenthe.cli.output import check_paths
from onnx_nepenthe.cli.parameters import COUNT, FILE, together
from onnx_nepenthe.errors import UsageError

MISSING = "the PyTorch half needs {name}; `pip install 'onnx-nepenthe[prune]'` brings it"
SHARE = click.FloatRange(min=0, max=1)
ABOVE_ZERO = click.FloatRange(min=0, min_open=True)


def setting(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """`--set name=value`, repeated."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as fraction=0.25", ctx=ctx, param=param)
        found[name.strip().replace("-", "_")] = value.strip()
    return found


def list_methods(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Every method with its options, and stop."""
    if not value or ctx.resilient_parsing:
        return
    try:
        from onnx_nepenthe.prune.choosing import options_of  # noqa: PLC0415 — torch is an extra
        from onnx_nepenthe.prune.methods import METHODS  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _needs(error) from error
    for name in METHODS:
        method = METHODS[name]
        click.echo(f"{name}: {method.summary} ({method.paper})")
        for option, (default, doc) in options_of(method).items():
            click.echo(f"    {option}={default}: {doc}")
    ctx.exit()


def require_torch() -> None:
    """Raises UsageError when an extra of `prune` is not installed."""
    try:
        import onnx_nepenthe.prune.api  # noqa: F401, PLC0415 — torch is an extra
    except ModuleNotFoundError as error:
        raise _needs(error) from error


def _needs(error: ModuleNotFoundError) -> Exception:
    if error.name is None or error.name.split(".")[0] not in ("torch", "accelerate", "onnxscript"):
        return error
    return UsageError(MISSING.format(name=error.name))


network = together(
    click.option(
        "--data",
        metavar="D",
        required=True,
        help="Training data with labels: a .npz, a folder of images in "
        "class folders, or package.module:callable that returns a torch Dataset or DataLoader (runs code).",
    ),
    click.option("--validation", metavar="D", help="Decides when to stop; default a tenth of --data, held out."),
    click.option("--test", metavar="D", help="Looked at once, for the final report."),
    click.option("--image-size", type=types.image_size, metavar="HxW", help="Images: size; needed for folders."),
    click.option("--mean", type=types.numbers, metavar="N,…", help="Images: subtracted per channel, after scaling."),
    click.option("--std", type=types.numbers, metavar="N,…", help="Images: divided by per channel, after --mean."),
    click.option("--width", type=ABOVE_ZERO, default=1.0, show_default=True, help="Of a built-in network."),
    click.option("--weights", type=FILE, metavar="FILE", help="Start from these trained weights (a state dict)."),
    click.option("--leaf", "leaves", multiple=True, metavar="NAME", help="Do not trace into a submodule. Repeatable."),
)
recipe = together(
    click.option("--epochs", type=ABOVE_ZERO, default=30.0, show_default=True, help="Of one full training."),
    click.option("--batch", type=COUNT, default=128, show_default=True, help="Samples per step, over all devices."),
    click.option("--lr", type=ABOVE_ZERO, default=0.1, show_default=True, help="Peak learning rate."),
    click.option("--optimiser", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True, help="Which."),
    click.option(
        "--schedule",
        type=click.Choice(["step", "cosine", "constant"]),
        default="cosine",
        show_default=True,
        help="Of the learning rate.",
    ),
    click.option("--weight-decay", type=click.FloatRange(min=0), default=1e-4, show_default=True, help="Of weights."),
    click.option("--warm-up", type=click.FloatRange(min=0), default=0.0, help="Epochs of linear rise."),
    click.option("--flip", is_flag=True, help="Mirror images half the time."),
    click.option("--crop", type=click.IntRange(min=0), default=0, help="Move images by up to so many pixels."),
    click.option("--smoothing", type=SHARE, default=0.0, help="Of labels."),
    click.option("--precision", type=click.Choice(["no", "bf16", "fp16"]), default="no", help="Of autocast."),
    click.option("--accumulate", type=COUNT, default=1, help="Parts that a batch is computed in."),
    click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that read images."),
)
method = together(
    click.option("--method", default="fast", show_default=True, metavar="NAME", help="How; see --list-methods."),
    click.option("--set", "options", multiple=True, callback=setting, metavar="NAME=VALUE",
                 help="An option of the method; see --list-methods. Repeatable."),
    click.option("--no-guard", is_flag=True, help="As published, where the method has guards of ours."),
    click.option("--theta", default="dense-1", show_default=True, metavar="ACCURACY",
                 help="Stop before validation accuracy falls below: 0.91, 91% or dense-1.5 (points below dense)."),
    click.option("--rounds", type=COUNT, default=10, show_default=True, help="At most."),
    click.option("--max-epochs", type=ABOVE_ZERO, help="Of all trainings together."),
    click.option("--settle-epochs", type=ABOVE_ZERO, help="Of a last fine-tuning with padding moved to the first "
                 "convolution of each linear run, so that such runs compose exactly."),
    click.option("--narrow", is_flag=True, help="Before it, leave the later convolutions of each linear run their "
                 "centre tap alone: a run becomes one convolution with the kernel of its first."),
    click.option("--pressure", type=ABOVE_ZERO, metavar="WEIGHT", help="Of the entropy regulariser in the loss."),
    click.option("--distill", type=ABOVE_ZERO, metavar="WEIGHT", help="Of learning from the dense network."),
    click.option("--checkpoint", type=FILE, metavar="DIR", help="Keep every epoch and round, to --resume from."),
    click.option("--resume", is_flag=True, help="Go on from --checkpoint; the result is that of a run never stopped."),
    click.option("--list-methods", is_flag=True, is_eager=True, expose_value=False, callback=list_methods,
                 help="Every method with its options, and stop."),
)  # fmt: skip
exported = together(
    click.option(
        "--opset", type=click.IntRange(min=18), metavar="N", help="Of the ONNX model; default the exporter's."
    ),
    click.option("--keep-norms", is_flag=True, help="Do not fold BatchNormalization into convolutions."),
)
RECIPE = (
    *("epochs", "batch", "lr", "optimiser", "schedule", "weight_decay", "warm_up", "flip", "crop", "smoothing"),
    *("precision", "accumulate", "workers", "seed"),
)


def check_together(given: Mapping[str, Any], paths: Mapping[str, str | Path | None]) -> None:
    """Raises UsageError where options, or the paths that are written (option → path), do not go together."""
    check_paths(paths)
    if given["robustness"] and given["test"] is None:
        raise click.UsageError("--robustness needs --test: it is accuracy on test data")
    if given["max_drop"] is not None and not given["wants_collapse"]:
        raise click.UsageError("--max-drop is of --collapse; give that too")
    if given["narrow"] and given["settle_epochs"] is None:
        raise click.UsageError("--narrow needs --settle-epochs: a last fine-tuning, without which accuracy is lost")
    if given["resume"] and given["checkpoint"] is None:
        raise click.UsageError("--resume needs --checkpoint: the folder to go on from")


def recipe_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are fields of a `Recipe`."""
    return {name: given[name] for name in RECIPE}
