"""What less depth does to accuracy when data are not as clean as the test set: noise, blur, light, attack, shift."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from onnx_nepenthe.prune.losses import task_loss
from onnx_nepenthe.registry import Registry

Batches = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]
"""Starts a pass over (inputs, labels)."""
Predict = Callable[[torch.Tensor], torch.Tensor]
"""Inputs (samples, …) → logits (samples, classes)."""
Disturb = Callable[[torch.Tensor, float, float, torch.Generator], torch.Tensor]
"""(inputs, strength, their standard deviation, randomness) → inputs of the same shape."""
DISTURBANCES: Registry[Disturb] = Registry("disturbance")
"""Name → what is done to the inputs."""
FGSM, CLEAN, ATYPICAL = "fgsm", "clean", "atypical quarter"
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "noise": (0.25, 0.5),
    "blur": (0.5, 1.0),
    "brightness": (0.5, 1.0),
    "translate": (1.0, 2.0),
    FGSM: (0.05, 0.1),
}
"""In standard deviations of the inputs; blur in pixels of its Gaussian, translate in pixels."""
BLUR_REACH = 3
"""A blur's kernel reaches that many standard deviations."""
ROUNDING = 1e-12


@dataclass(frozen=True)
class Subject:
    """A model to be tried.

    Attributes:
        predict: runs it.
        attacked: the network whose gradient FGSM takes: itself, or for an exported model the one it was made of.
    """

    predict: Predict
    attacked: nn.Module


def predicting(run: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Predict:
    """`run`, from arrays to arrays (an ONNX model), as a function of tensors."""
    return lambda inputs: torch.from_numpy(run(inputs.detach().cpu().numpy()))


@dataclass(frozen=True)
class Row:
    """Accuracy of every model under one disturbance.

    Attributes:
        disturbance, strength: what was done to the inputs; 0 where nothing was.
        accuracy: name of the model → share of samples right, 0…1.
        samples: how many.
    """

    disturbance: str
    strength: float
    accuracy: Mapping[str, float]
    samples: int


def robustness(
    models: Mapping[str, Subject],
    batches: Batches,
    *,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
    typical: Batches | None = None,
    seed: int = 0,
) -> tuple[Row, ...]:
    """Accuracy on clean, disturbed, attacked and atypical inputs; every model sees the same ones.

    Args:
        models: name → model, in the order of the columns.
        batches: labelled test data.
        strengths: disturbance → strengths; names of `DISTURBANCES` and "fgsm".
        typical: training data; with them, a row on the quarter of the test samples furthest from their mean, each
            input value measured in its own standard deviations.
        seed: of the noise.

    Raises:
        ValueError: an unknown disturbance.

    Source: FGSM is arXiv 1412.6572 §4; each model is attacked by its own gradient.
    """
    if unknown := set(strengths) - {*DISTURBANCES, FGSM}:
        raise ValueError(f"unknown disturbances: {sorted(unknown)}")
    spread = _spread(batches)
    rows = [_row(models, batches, CLEAN, 0.0, spread, seed)]
    for name, levels in strengths.items():
        rows += [_row(models, batches, name, level, spread, seed) for level in levels if _applies(name, batches)]
    if typical is not None:
        rows.append(_row(models, _atypical(batches, typical), ATYPICAL, 0.0, spread, seed))
    return tuple(rows)


def _row(models: Mapping[str, Subject], batches: Batches, name: str, strength: float, spread: float, seed: int) -> Row:
    right = dict.fromkeys(models, 0)
    samples = 0
    generator = torch.Generator().manual_seed(seed)
    for inputs, labels in batches():
        samples += len(labels)
        shared = DISTURBANCES[name](inputs, strength, spread, generator) if name in DISTURBANCES else inputs
        for key, model in models.items():
            tried = fgsm(model.attacked, inputs, labels, strength * spread) if name == FGSM else shared
            with torch.no_grad():
                right[key] += int((model.predict(tried).argmax(1) == labels).sum())
    return Row(name, strength, {key: count / max(1, samples) for key, count in right.items()}, samples)


def fgsm(module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, step: float) -> torch.Tensor:
    """Inputs moved by `step` in the direction of the sign of the loss's gradient.

    Source: fast gradient sign method, arXiv 1412.6572 §4; values are not clipped, as normalised inputs have no bounds.
    """
    mode = module.training
    module.eval()
    device = next((parameter.device for parameter in module.parameters()), inputs.device)
    moved = inputs.detach().clone().to(device).requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(task_loss(module(moved), labels.to(device)), moved)
    module.train(mode)
    return inputs + step * slope.sign().to(inputs.device)


@DISTURBANCES.register("noise")
def noise(inputs: torch.Tensor, strength: float, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise."""
    return inputs + strength * spread * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)


@DISTURBANCES.register("brightness")
def brightness(inputs: torch.Tensor, strength: float, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Everything lighter by the same amount."""
    return inputs + strength * spread


@DISTURBANCES.register("blur")
def blur(inputs: torch.Tensor, strength: float, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Gaussian blur of images (samples, channels, height, width); the border is repeated."""
    reach = max(1, math.ceil(BLUR_REACH * strength))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=inputs.dtype) / strength) ** 2)
    line = line / line.sum()
    channels = inputs.shape[1]
    result = inputs
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = F.pad(result, padding, mode="replicate")
        result = F.conv2d(padded, line.view(shape).expand(channels, *[-1] * 3), groups=channels)
    return result


@DISTURBANCES.register("translate")
def translate(inputs: torch.Tensor, strength: float, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Each batch of images moved by that many pixels to the right and down; the border is repeated."""
    pixels = round(strength)
    padded = F.pad(inputs, (pixels, 0, pixels, 0), mode="replicate")
    return padded[:, :, : inputs.shape[2], : inputs.shape[3]]


def _applies(name: str, batches: Batches) -> bool:
    """Blur and translation need images."""
    return name not in ("blur", "translate") or next(iter(batches()))[0].ndim == 4


def _spread(batches: Batches) -> float:
    """Standard deviation over all values of the inputs."""
    count, total, squares = 0, 0.0, 0.0
    for inputs, _ in batches():
        values = inputs.double()
        count, total, squares = count + values.numel(), total + float(values.sum()), squares + float((values**2).sum())
    return math.sqrt(max(0.0, squares / max(1, count) - (total / max(1, count)) ** 2))


def _atypical(batches: Batches, typical: Batches) -> Batches:
    """The quarter of `batches` furthest from the mean of `typical`."""
    mean, deviation = _moments(typical)
    distance = np.concatenate([_distance(inputs, mean, deviation) for inputs, _ in batches()])
    # At least one, and the same samples when another batch rounds otherwise.
    limit = np.sort(distance)[-math.ceil(len(distance) / 4)] * (1 - ROUNDING)

    def chosen() -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        for inputs, labels in batches():
            far = torch.from_numpy(_distance(inputs, mean, deviation) >= limit)
            if far.any():
                yield inputs[far], labels[far]

    return chosen


def _moments(batches: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for inputs, _ in batches():
        values = inputs.double()
        count, total, squares = count + len(values), total + values.sum(0), squares + (values**2).sum(0)
    mean = total / max(1, count)
    return mean, (squares / max(1, count) - mean**2).clamp(min=0).sqrt()


def _distance(
    inputs: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    # A pixel that never changed in training would make any change infinitely far.
    scaled = (inputs.double() - mean) / deviation.clamp(min=1e-3)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = scaled.flatten(1).norm(dim=1).numpy()
    return found
