"""What a training does to the subject before its first step: where it is, what is learnt, what is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onnx_nepenthe.prune.flow import NORMS
from onnx_nepenthe.prune.recipe import Recipe
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.subject import Subject

FACTOR = "factor"
"""Key of an optimiser's group: times the rate."""


def place(subject: Subject, device: torch.device) -> None:
    """Moves the subject, with its masks, to the device."""
    subject.module.to(device)
    for name, mask in subject.masks.items():
        subject.masks[name] = mask.to(device)


@contextmanager
def tapped(subject: Subject, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dict that every forward pass fills with the pre-activations of these sites."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, args: seen.__setitem__(name, args[0])

    handles = [subject.rectifier(name).register_forward_pre_hook(keep(name)) for name in dict.fromkeys(names)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def optimiser_of(subject: Subject, recipe: Recipe) -> torch.optim.Optimizer:
    """Of all parameters that are to be trained; the rectifiers' own are not decayed."""
    rectifiers = [module for module in subject.module.modules() if isinstance(module, Rectifier)]
    for rectifier in rectifiers:
        # Several processes wait for the gradient of every parameter that is to be trained.
        rectifier.learn_function()
    own = {id(p) for rectifier in rectifiers for p in rectifier.parameters()}
    trained = [p for p in subject.module.parameters() if p.requires_grad]
    vectors = {id(p) for p in trained if p.ndim <= 1 and recipe.vectors != 1} - own
    groups = [
        {"params": [p for p in trained if id(p) not in own | vectors], "weight_decay": recipe.weight_decay, FACTOR: 1},
        # Decay would pull lines to the constant 0 and alphas back to the activation.
        {"params": [p for p in trained if id(p) in own], "weight_decay": 0.0, FACTOR: 1},
        {"params": [p for p in trained if id(p) in vectors], "weight_decay": 0.0, FACTOR: recipe.vectors},
    ]
    groups = groups if vectors else groups[:2]
    match recipe.optimiser:
        case "sgd":
            return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
        case "adamw":
            return torch.optim.AdamW(groups, lr=recipe.lr)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Gives every group its own multiple of the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group[FACTOR]


def freeze_norms(module: nn.Module) -> None:
    """Lets every BatchNorm use its running statistics, where it has any, until the module is next set to train."""
    for part in module.modules():
        if isinstance(part, NORMS) and part.running_mean is not None:
            part.eval()
