"""How a run goes, and what makes two runs the same one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import Data, Splits, seed_everything
from onnx_nepenthe.prune.checkpoint import digest
from onnx_nepenthe.prune.data import fingerprint
from onnx_nepenthe.prune.methods.base import Method
from onnx_nepenthe.prune.rounds import Theta
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.training import Training, require_tuning
from onnx_nepenthe.prune.tuning import Distillation, Pressure, Tuning


@dataclass(frozen=True)
class Settings:
    """How the loop goes.

    Attributes:
        theta: validation accuracy that pruning may not fall under.
        rounds: at most.
        is_trained: the weights as given are the dense network; otherwise it is trained first.
        pressure: entropy pressure in the training after each proposal, on the sites of lowest entropy; a method that
            asks for its own gets that.
        distillation: from the dense network, likewise.
        settle: a last fine-tuning, after padding has moved to the first convolution of each linear run, so that the
            runs can be merged exactly; None for none.
        narrow: before it, the later convolutions of each linear run keep their centre tap alone, so that a run as one
            has the kernel of its first; where validation accuracy would fall below theta, half of them, those that fit
            best, then a quarter, then none, as long as `max_epochs` allows.
        max_epochs: of all trainings together; a round that might exceed it does not begin.
        sensitivity_samples: of the validation data, for methods that measure sensitivities; of the training data, for
            fitting what is narrowed.
        checkpoint: folder; None for none.
        resume: go on from what the folder holds; without it a folder that holds a run is refused.
    """

    theta: Theta
    rounds: int = 10
    is_trained: bool = False
    pressure: Pressure | None = None
    distillation: Distillation | None = None
    settle: Tuning | None = None
    narrow: bool = False
    max_epochs: float | None = None
    sensitivity_samples: int = 2048
    checkpoint: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds is {self.rounds}; it must be 1 or more")
        if self.sensitivity_samples < 1:
            raise UsageError(f"sensitivity_samples is {self.sensitivity_samples}; it must be 1 or more")
        if self.narrow and self.settle is None:
            raise UsageError("narrow needs settle: a last fine-tuning, without which accuracy is lost")

    @property
    def settle_epochs(self) -> float:
        """Of the last fine-tuning; 0 where there is none."""
        return (self.settle and self.settle.epochs) or 0.0


def check(method: Method, settings: Settings, data: Splits, training: Training) -> None:
    """Whether these go together.

    Raises:
        UsageError: they do not.
    """
    if not training.can_tune:
        asked = {"pressure": settings.pressure, "distillation": settings.distillation, "settle": settings.settle}
        for name, value in asked.items():
            if value is not None:
                require_tuning(training, name)
        if method.retries or method.tunes or "fold" in method.needs:
            require_tuning(training, method.name)
    elif data.validation is None:
        raise UsageError("there are no validation data; pruning stops by accuracy on them")
    if settings.settle is not None and not settings.settle_epochs > 0:
        raise UsageError("settle: say how many epochs it takes; more than 0")


def identity(
    subject: Subject, method: Method, config: Any, settings: Settings, data: Splits, training: Training
) -> dict[str, Any]:
    """Plain data that two runs have in common exactly when one may go on where the other stopped."""
    own = asdict(settings)
    for name in ("checkpoint", "resume"):
        del own[name]
    weights = subject.module.state_dict()
    return {
        "method": method.name,
        "config": asdict(config),
        "settings": own,
        "recipe": asdict(training.recipe),
        "network": digest({name: torch.zeros(0, dtype=w.dtype).expand(*w.shape, 0) for name, w in weights.items()}),
        "weights": digest(weights) if settings.is_trained else "",
        "training data": _fingerprint(data.train),
        "validation data": _fingerprint(data.validation),
    }


def _fingerprint(data: Data | None) -> str:
    """The same on every call, even of data that are augmented by chance."""
    seed_everything(0)
    return "" if data is None else fingerprint(data)
