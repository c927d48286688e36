"""A small problem for the loop: two classes that no line separates, and a network of a few layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from onnx_nepenthe.prune.batches import Splits
from onnx_nepenthe.prune.loop import Tell, run
from onnx_nepenthe.prune.methods import METHODS, Method
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.rounds import Result, Theta
from onnx_nepenthe.prune.settings import Settings
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.trainer import Trainer

RECIPE = Recipe(epochs=4, batch=32, lr=0.05, schedule="cosine")
SHORT = replace(RECIPE, epochs=1)
WIDTH = 16


def ring(samples: int, seed: int) -> TensorDataset:
    """Whether a point of the plane is far from the middle."""
    x = torch.randn(samples, 2, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.norm(dim=1) > 1.2).long())


def splits() -> Splits:
    return Splits(ring(256, 1), ring(256, 2), ring(256, 3))


def network(depth: int = 3, seed: int = 0) -> nn.Module:
    """Dense layers of 16, each with a norm and a ReLU."""
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for width in (2, *[WIDTH] * (depth - 1)):
        parts += [nn.Linear(width, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(WIDTH, 2))


def blocks() -> nn.Module:
    """Three padded convolutions of one channel or more, with rectifiers between them and behind."""
    convs = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)]
    parts = [part for conv in convs for part in (conv, nn.ReLU())]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


def subject(depth: int = 3, seed: int = 0) -> Subject:
    return Subject.of(network(depth, seed), torch.zeros(2, 2))


def pruned(
    own: Subject,
    method: str | Method = "easier",
    config: Any = None,
    *,
    recipe: Recipe = RECIPE,
    training: Any = None,
    theta: Theta = Theta(accuracy=0.0),  # noqa: B008
    rounds: int = 2,
    tell: Tell | None = None,
    **more: Any,
) -> Result:
    found = METHODS[method] if isinstance(method, str) else method
    settings = Settings(theta, rounds, **more)
    return run(own, found, config or found.config(), splits(), training or Trainer(recipe, cpu=True), settings, tell)


def linear_subject(network: nn.Module, x: torch.Tensor) -> Subject:
    """Every rectifier is a line with numbers of its own, every norm has seen data."""
    rng = np.random.default_rng(0)
    made = Subject.of(network, x)
    with torch.no_grad():
        made.module.train()(x)
    for site in made.sites:
        made.rectifier(site.name).set_line(rng.normal(1, 0.3, site.channels), rng.normal(0, 0.5, site.channels))
    made.module.eval()
    return made


class Scripted:
    """The built-in trainer, but for its word on accuracy."""

    def __init__(self, *accuracies: float) -> None:
        self._trainer, self.accuracies = Trainer(SHORT, cpu=True), list(accuracies)

    def evaluate(self, module: nn.Module, data: Any) -> float:
        return self.accuracies.pop(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


def weights(own: Subject) -> dict[str, torch.Tensor]:
    """All that decides what the network computes."""
    state = own.state_dict()
    found = {**state["module"], **{f"mask of {name}": mask for name, mask in state["masks"].items()}}
    return {name: value.clone() for name, value in found.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
