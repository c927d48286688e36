"""The PyTorch half in one call: prune a network by a method, then export it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import Data, Splits, in_order
from onnx_nepenthe.prune.choosing import config_of, method_of
from onnx_nepenthe.prune.data import example_of, fingerprint, hold_out, open_data
from onnx_nepenthe.prune.export import Agreement, Run, export
from onnx_nepenthe.prune.loop import Tell, run
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.records import Site, SiteStatistics
from onnx_nepenthe.prune.rounds import Result, Theta
from onnx_nepenthe.prune.settings import Settings
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.tap import measure
from onnx_nepenthe.prune.trainer import Trainer
from onnx_nepenthe.prune.training import Training
from onnx_nepenthe.prune.trial import check_trial
from onnx_nepenthe.sources import SourceOptions

COUNTING_BATCH = 256
HELD_OUT = 0.1
"""Share of the training data that validates when there are no validation data."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What pruning came to.

    Attributes:
        subject: the network in the state of the chosen round; `subject.module` is the module.
        result: the rounds.
        data: what it was trained, stopped and tested on.
        example: (2, …), an input.
    """

    subject: Subject
    result: Result
    data: Splits
    example: torch.Tensor

    @property
    def module(self) -> nn.Module:
        """The pruned network, in evaluation mode."""
        return self.subject.module.eval()

    @property
    def dense(self) -> nn.Module:
        """The network as it was before pruning, trained, in evaluation mode."""
        network: nn.Module = self.result.dense_network
        return network.eval()

    def export(self, path: str | Path, run: Run, **options: Any) -> Agreement:
        """Writes the network as ONNX with a note of how it was made.

        Args:
            path: of the result.
            run: runs an ONNX file, with its optimiser off.
            options: `opset`, `keep_norms` and `output` of `export.export`.

        Raises:
            NepentheError: it cannot be exported, disagrees with torch, or cannot be written.
        """
        return export(self.module, self.example, Path(path), run=run, metadata=self.metadata(), **options)

    def metadata(self) -> dict[str, object]:
        """Method, rounds, entropies, regimes and the fingerprint of the training data, as plain data."""
        result = self.result
        return {
            "method": result.method,
            "theta": result.theta,
            "rounds": [
                {"round": one.number, "accuracy": one.accuracy, "kept": one.is_accepted} for one in result.rounds
            ],
            "chosen_round": result.chosen,
            "epochs": result.epochs,
            "linear": list(result.final.linear),
            "regimes": self.regimes(),
            "entropy_bits": dict(result.final.entropy),
            "training_data": fingerprint(self.data.train),
        }

    def regimes(self) -> dict[str, dict[str, float]]:
        """Name of every site → share of its observations on the training data in each of its pieces, from the lowest.

        Keys are numbered, as two pieces may go by one name: "0 OFF", "1 ON".
        """
        found = measure(self.subject, batches_of(self.data.train, COUNTING_BATCH), sums=False)
        return {site.name: _shares(site, found[site.name]) for site in self.subject.sites}


def _shares(site: Site, statistics: SiteStatistics) -> dict[str, float]:
    counts = statistics.counts.with_ties("below").sum(axis=1)
    total = max(1, int(counts.sum()))
    names = (f"{number} {name}" for number, name in enumerate(site.activation.names))
    return {name: round(int(count) / total, 6) for name, count in zip(names, counts, strict=True)}


def prune(
    model: nn.Module,
    data: Any,
    *,
    validation: Any = None,
    test: Any = None,
    method: str = "fast",
    config: Any = None,
    options: Mapping[str, str] | None = None,
    guard: bool = True,
    theta: Theta | str = "dense-1",
    recipe: Recipe | None = None,
    training: Training | None = None,
    settings: Settings | None = None,
    leaves: Sequence[str] = (),
    tell: Tell | None = None,
) -> Pruned:
    """Prunes a copy of `model` until validation accuracy would fall below theta.

    Args:
        model: any module that torch.fx can trace, from one tensor to one tensor; stays as it is.
        data: training data: a Dataset, a DataLoader, or what `data.open_data` takes.
        validation: decides when to stop; a tenth of the training data, held out by chance, when not given.
        test: looked at once, at the end.
        method: a name of `METHODS`.
        config: of the method; its defaults, changed by `options` (name → value as text), when not given.
        guard: False reproduces the papers where they have no guards.
        theta: "0.91", "91%" or "dense-1.5" (percentage points below the dense network).
        recipe: of one full training; the papers' for ResNet-18 on CIFAR-10 when not given.
        training: `OwnTraining` around callables of yours; the built-in trainer with `recipe` when not given.
        settings: theta, rounds, checkpoint, pressure, distillation …; instead of `theta`.
        leaves: qualified names of submodules that tracing does not look into.
        tell: called after every epoch and round.

    Raises:
        NepentheError: one line that says what, where, and how to mend it.
    """
    seed = 0 if recipe is None else recipe.seed
    splits = open_splits(data, validation, test, seed, needs_validation=training is None)
    limit = theta if isinstance(theta, Theta) else Theta.parse(theta)
    return prune_splits(
        model,
        splits,
        method=method,
        config=config,
        options=options,
        guard=guard,
        recipe=recipe,
        training=training,
        settings=settings if settings is not None else Settings(limit),
        leaves=leaves,
        tell=tell,
    )


def prune_splits(
    model: nn.Module,
    splits: Splits,
    *,
    settings: Settings,
    method: str = "fast",
    config: Any = None,
    options: Mapping[str, str] | None = None,
    guard: bool = True,
    recipe: Recipe | None = None,
    training: Training | None = None,
    leaves: Sequence[str] = (),
    tell: Tell | None = None,
) -> Pruned:
    """As `prune`, on data that are split already.

    Raises:
        NepentheError: as `prune`.
    """
    found = method_of(method)
    own = config_of(found, options or {}, guard=guard) if config is None else config
    example = example_of(splits.train)
    subject = Subject.of(model, example, leaves)
    if training is None:
        check_trial(subject.module, splits)
    _check_prunable(subject)
    result = run(subject, found, own, splits, training or Trainer(recipe or Recipe()), settings, tell)
    return Pruned(subject, result, splits, example)


def _check_prunable(subject: Subject) -> None:
    if not subject.sites:
        raise UsageError(
            "the network calls no activation that can be pruned (those inside leaves, scripted modules and parts of "
            "torch.nn are not seen)"
        )
    if not subject.prunable():
        raise UsageError(f"no activation can be pruned; {subject.sites[0].label}: {subject.notes()[0].reason}")


def open_splits(
    data: Any,
    validation: Any,
    test: Any,
    seed: int,
    source: SourceOptions | None = None,
    *,
    needs_validation: bool = True,
) -> Splits:
    """The three parts; a tenth of the training data validates when nothing else does.

    Raises:
        NepentheError: data that cannot be read.
    """
    train = open_data(data, source)
    later = [None if spec is None else open_data(spec, source) for spec in (validation, test)]
    if later[0] is None and needs_validation:
        if isinstance(train, DataLoader):
            raise UsageError("a tenth of a DataLoader cannot be held out; give validation data too")
        train, later[0] = hold_out(train, HELD_OUT, seed)
    return Splits(train, *later)


def batches_of(data: Data, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(inputs, labels) of every sample once, in order where the data have one; also of a DataLoader that drops some."""
    for inputs, labels in in_order(data, batch, torch.device("cpu")):
        if labels is None:
            raise UsageError("the data have no labels")
        yield inputs[0], labels


def use_threads(count: int) -> None:
    """Lets torch use so many threads for one operator; small networks are faster with one."""
    torch.set_num_threads(count)
