"""The loss of the task and what may be added to it: distillation, the penalty of Layer Folding; see also `entropy`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.tuning import Distillation


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass in training.

    Attributes:
        inputs: of the network.
        outputs: of the network, (samples, classes …).
        z: name of the site → its pre-activation, for the sites that a term asked for.
        done: share of the training that lies behind, in [0, 1].
    """

    inputs: tuple[Tensor, ...]
    outputs: Tensor
    z: Mapping[str, Tensor]
    done: float = 1.0


class Term(Protocol):
    """Something added to the loss."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites whose pre-activations it needs."""
        ...

    def __call__(self, seen: Pass) -> Tensor:
        """A scalar."""
        ...


def task_loss(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy for class numbers (integers) or class probabilities.

    Raises:
        UsageError: a class that the network does not know (on the CPU).
    """
    try:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)
    except IndexError as error:
        lowest, largest = int(targets.min()), int(targets.max())
        raise UsageError(
            f"labels are from {lowest} to {largest}; the network has {outputs.shape[1]} outputs, for 0 to "
            f"{outputs.shape[1] - 1}"
        ) from error


class Teacher:
    """Distillation from a network as it is now, which does not change with the one that is trained.

    Attributes:
        sites: none are needed.
    """

    sites: tuple[str, ...] = ()

    def __init__(self, module: nn.Module, distillation: Distillation) -> None:
        self._module = copy.deepcopy(module).eval().requires_grad_(False)
        self._distillation = distillation

    def __call__(self, seen: Pass) -> Tensor:
        """A scalar: weight · T² · KL, the mean over samples."""
        t, device = self._distillation.temperature, seen.outputs.device
        with torch.no_grad():
            taught = F.log_softmax(self._module.to(device)(*seen.inputs).float() / t, dim=1)
        ours = F.log_softmax(seen.outputs.float() / t, dim=1)
        return self._distillation.weight * t * t * F.kl_div(ours, taught, reduction="batchmean", log_target=True)


class FoldPenalty:
    """weight · sum over folded sites of |1 - alpha²| (Layer Folding, arXiv 2106.09309).

    Attributes:
        sites: none are needed.
    """

    sites: tuple[str, ...] = ()

    def __init__(self, rectifiers: Sequence[Rectifier], weight: float) -> None:
        self._rectifiers, self._weight = tuple(rectifiers), weight

    def __call__(self, seen: Pass) -> Tensor:
        """A scalar."""
        parts = [(1 - rectifier.alpha.square()).abs() for rectifier in self._rectifiers]
        return self._weight * torch.stack(parts).sum() if parts else seen.outputs.new_zeros(())
