"""`prune`: train a network until layers of it are linear, and export it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from onnx_nepenthe import run
from onnx_nepenthe.cli.app import Command
from onnx_nepenthe.cli.output import Output
from onnx_nepenthe.cli.parameters import FILE, common
from onnx_nepenthe.cli.pruning import check_together, exported, method, network, recipe, recipe_fields, require_torch
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.options import Options, Progress
from onnx_nepenthe.report.json import environment_record, head, record_of_outcome
from onnx_nepenthe.report.pruning import print_pruning, pruning_line
from onnx_nepenthe.report.pruning_page import page_of_pruning
from onnx_nepenthe.session import SessionConfig, environment, open_session
from onnx_nepenthe.sources import SourceOptions

if TYPE_CHECKING:
    from onnx_nepenthe.prune.api import Pruned
    from onnx_nepenthe.prune.rounds import Event

Array = npt.NDArray[Any]
BATCH = 256


@click.command(cls=Command)
@click.argument("name", metavar="NETWORK")
@click.option("-o", "--output", "out", metavar="OUT", type=FILE, help="ONNX model; default NETWORK.pruned.onnx.")
@network
@method
@recipe
@exported
@click.option("--collapse", "wants_collapse", is_flag=True, help="Collapse the exported model too: OUT.collapsed.onnx.")
@click.option("--max-drop", type=click.FloatRange(min=0), metavar="POINTS", help="Of --collapse; as there.")
@click.option("--report", metavar="PATH.html", type=FILE, help="Write the report as a page that needs no network.")
@click.option("--robustness", is_flag=True, help="Accuracy under noise, blur, light, FGSM …; needs --test.")
@common
@click.pass_context
def prune(ctx: click.Context, /, name: str, out: Path | None, **given: Any) -> None:
    """Train NETWORK, prune it until layers of it are linear, and export it to ONNX.

    NETWORK is a built-in one (mlp, resnet18, resnet20, mobilenet-v2, vgg16-bn, vit, swin) or package.module:callable
    that returns a torch.nn.Module and runs code. Under `accelerate launch` it trains on several devices.

    \b
    Example:
      onnx-nepenthe prune resnet20 --data train.npz --test test.npz --collapse -o net.onnx
    """
    require_torch()
    target = out or Path(f"{name.rpartition(':')[2]}.pruned.onnx")
    collapsed = target.with_name(f"{target.stem}.collapsed.onnx") if given["wants_collapse"] else None
    check_together(
        given, {"-o": target, "--collapse": collapsed, "--json": given["json_path"], "--report": given["report"]}
    )
    output = Output(given["json_path"], is_quiet=given["quiet"], verbosity=given["verbose"])
    with output.working() as bars:
        pruned = _pruned(name, given, bars)
        if not _is_first():
            return
        found = _record(pruned, name, target, collapsed, given, bars)
    line = pruning_line(found)
    record = head("prune", name, line, ctx.obj or "") | found
    if given["report"] is not None:
        output.write(given["report"], page_of_pruning(record))
    output.write_json(record)
    output.show(lambda console: print_pruning(console, record, everything=output.everything), line)


def _pruned(name: str, given: Mapping[str, Any], progress: Progress) -> Pruned:
    from onnx_nepenthe.prune.api import open_splits, prune_splits, use_threads  # noqa: PLC0415 — torch is an extra
    from onnx_nepenthe.prune.building import build, load_weights  # noqa: PLC0415
    from onnx_nepenthe.prune.data import classes_of, example_of  # noqa: PLC0415
    from onnx_nepenthe.prune.recipe import Recipe  # noqa: PLC0415

    if given["threads"]:
        use_threads(given["threads"])
    images = {key: given[key] for key in ("image_size", "mean", "std") if given[key] is not None}
    source = SourceOptions(seed=given["seed"], **images)
    splits = open_splits(given["data"], given["validation"], given["test"], given["seed"], source)
    example = example_of(splits.train)
    model = build(name, example, classes_of(splits.train, splits.validation), width=given["width"], seed=given["seed"])
    if given["weights"] is not None:
        load_weights(model, given["weights"])
    return prune_splits(
        model,
        splits,
        method=given["method"],
        options=given["options"],
        guard=not given["no_guard"],
        recipe=Recipe(**recipe_fields(given)),
        settings=_settings(given),
        leaves=given["leaves"],
        tell=_teller(progress),
    )


def _settings(given: Mapping[str, Any]) -> Any:
    from onnx_nepenthe.prune.rounds import Theta  # noqa: PLC0415 — torch is an extra
    from onnx_nepenthe.prune.settings import Settings  # noqa: PLC0415
    from onnx_nepenthe.prune.tuning import Distillation, Pressure, last_tuning  # noqa: PLC0415

    settle = None if given["settle_epochs"] is None else last_tuning(given["settle_epochs"], narrow=given["narrow"])
    return Settings(
        Theta.parse(given["theta"]),
        rounds=given["rounds"],
        is_trained=given["weights"] is not None,
        pressure=None if given["pressure"] is None else Pressure(weight=given["pressure"]),
        distillation=None if given["distill"] is None else Distillation(weight=given["distill"]),
        settle=settle,
        narrow=given["narrow"],
        max_epochs=given["max_epochs"],
        checkpoint=given["checkpoint"],
        resume=given["resume"],
    )


_STAGES = {"dense": "training", "polish": "polishing", "fold": "folding", "settle": "last fine-tuning"}


def _teller(progress: Progress) -> Any:
    def tell(event: Event) -> None:
        if event.epoch is not None:
            stage = _STAGES.get(event.phase, f"round {event.number}")
            progress(stage, event.epoch.number, max(1, round(event.epochs)))

    return tell


def _is_first() -> bool:
    from onnx_nepenthe.prune.distributed import own_share  # noqa: PLC0415 — torch is an extra

    return own_share().rank == 0


def _record(
    pruned: Pruned, name: str, target: Path, collapsed: Path | None, given: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Export, collapse, compare: everything of the report as plain data."""
    progress("exporting", 0, None)
    run_plain = runner(SessionConfig(optimise=False))
    agreement = pruned.export(target, run_plain, opset=given["opset"], keep_norms=given["keep_norms"])
    config = SessionConfig(given["provider"], given["threads"])
    record: dict[str, Any] = {
        "network": name,
        "output": target,
        **pruned.result.to_json(),
        "sites": [
            {"name": site.name, "label": site.label, "op": site.op, "channels": site.channels, "feeder": site.feeder}
            for site in pruned.subject.sites
        ],
        "export": asdict(agreement),
        "environment": environment_record(environment(config)),
        "collapse": None,
        "collapsed_test": None,
        "robustness": None,
    }
    if collapsed is not None:
        record |= _collapsed(pruned, target, collapsed, given, config, progress)
    if given["robustness"]:
        progress("robustness", 0, None)
        record["robustness"] = _robustness(pruned, collapsed, config)
    return record


def _collapsed(
    pruned: Pruned, target: Path, collapsed: Path, given: Mapping[str, Any], config: SessionConfig, progress: Progress
) -> dict[str, Any]:
    """Regimes are counted on the training data, as pruning counted them; accuracy is on the test data."""
    options = Options(
        data=_training_data(pruned, given["data"]),
        config=config,
        seed=given["seed"],
        progress=progress,
        max_drop=given["max_drop"],
        scan=None if given["report"] is None else False,
    )
    written, outcome = run.collapse(target, collapsed, options)
    return {
        "collapse": record_of_outcome(outcome, output=written),
        "collapsed_test": _accuracy(pruned, runner(config), collapsed),
    }


def _training_data(pruned: Pruned, name: str) -> Callable[[], Iterator[tuple[dict[str, Array], Array]]]:
    """What `Options.data` takes; reports call it by `name`."""
    from onnx_nepenthe.prune.api import batches_of  # noqa: PLC0415 — torch is an extra
    from onnx_nepenthe.prune.export import INPUT  # noqa: PLC0415

    def feeds() -> Iterator[tuple[dict[str, Array], Array]]:
        for inputs, labels in batches_of(pruned.data.train, BATCH):
            yield {INPUT: inputs.numpy()}, labels.numpy()

    feeds.__qualname__ = name
    return feeds


def _accuracy(pruned: Pruned, predict: Any, path: Path) -> float | None:
    from onnx_nepenthe.prune.api import batches_of  # noqa: PLC0415 — torch is an extra

    test = pruned.data.test
    if test is None:
        return None
    right = [predict(path, x.numpy()).argmax(1) == labels.numpy() for x, labels in batches_of(test, BATCH)]
    return float(np.concatenate(right).mean())


def _robustness(pruned: Pruned, collapsed: Path | None, config: SessionConfig) -> list[dict[str, Any]]:
    from onnx_nepenthe.prune.api import batches_of  # noqa: PLC0415 — torch is an extra
    from onnx_nepenthe.prune.robustness import Subject, predicting, robustness  # noqa: PLC0415

    dense, module = pruned.dense.cpu().eval(), pruned.module.cpu()
    models = {"dense": Subject(dense, dense), "pruned": Subject(module, module)}
    if collapsed is not None:
        predict = runner(config)
        models["collapsed"] = Subject(predicting(lambda inputs: predict(collapsed, inputs)), module)
    test, train = pruned.data.test, pruned.data.train
    assert test is not None
    rows = robustness(models, lambda: batches_of(test, BATCH), typical=lambda: batches_of(train, BATCH))
    return [asdict(row) for row in rows]


def runner(config: SessionConfig) -> Any:
    """Runs ONNX files on one input; a file is opened once."""
    opened: dict[Path, Any] = {}

    def predict(path: Path, inputs: Array) -> Array:
        if path not in opened:
            opened[path] = open_session(path, config)
        session = opened[path]
        if len(session.inputs) != 1:
            raise UsageError(f"{path}: has {len(session.inputs)} inputs; one is needed")
        result: Array = session.run({session.inputs[0].name: inputs})[0]
        return result

    return predict
