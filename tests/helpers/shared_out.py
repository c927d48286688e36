"""One of several processes that count, propose and train together; the first writes what each came to.

`RANK=0 WORLD_SIZE=2 MASTER_ADDR=… MASTER_PORT=… python shared_out.py FILE`
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from torch import distributed
from torch.utils.data import DataLoader, TensorDataset

from onnx_nepenthe.prune.batches import Splits
from onnx_nepenthe.prune.checkpoint import Progress, digest
from onnx_nepenthe.prune.methods import METHODS
from onnx_nepenthe.prune.records import Proposal
from onnx_nepenthe.prune.rounds import Theta
from onnx_nepenthe.prune.settings import Settings
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.trainer import Trainer
from onnx_nepenthe.prune.training import Job
from onnx_nepenthe.prune.tuning import Tuning
from onnx_nepenthe.prune.workbench import Workbench
from tests.helpers.pruning import RECIPE, blocks, pruned, ring, subject, weights


def counted(trainer: Trainer) -> dict[str, Any]:
    """Counts, budgets and masks of two methods for the network as it begins, over 203 samples."""
    data, found = Splits(ring(203, 1), ring(77, 2)), {}
    for name in ("nepenthe", "sap", "easier", "fast"):
        own, method = subject(), METHODS[name]
        bench = Workbench(own, method, method.config(), data, trainer, Settings(Theta(accuracy=0.0)))
        statistics = bench.measured()
        proposal = bench.proposal(1, statistics, Progress())
        found[name] = {
            "counts": {site: entry.counts.counts.tolist() for site, entry in statistics.items()},
            "ends": {
                site: [entry.counts.low.tolist(), entry.counts.high.tolist()] for site, entry in statistics.items()
            },
            "samples": [entry.samples for entry in statistics.values()],
            "masks": {feeder: mask.tolist() for feeder, mask in proposal.masks.items()},
            "linear": proposal.linear,
            "accuracy": trainer.evaluate(own.module, data.validation or data.train),
        }
    return found


def trained() -> dict[str, Any]:
    """A run of the loop; each process says which weights it ends with."""
    own = subject()
    result = pruned(own, "nepenthe", training=Trainer(RECIPE, cpu=True))
    return {"weights": digest(weights(own)), "losses": [epoch.loss for epoch in result.rounds[-1].losses]}


def narrowed(trainer: Trainer) -> dict[str, Any]:
    """Convolutions of which the centre tap was left, and their fitted weights, for the network as it begins."""
    images = torch.randn(203, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    own = Subject.of(blocks(), images[:2])
    own.apply(Proposal(linear=tuple(site.name for site in own.sites)), {})
    settings = Settings(Theta(accuracy=0.0), settle=Tuning(epochs=1), narrow=True)
    method = METHODS["easier"]
    data = Splits(TensorDataset(images, torch.zeros(203, dtype=torch.long)))
    names = Workbench(own, method, method.config(), data, trainer, settings).narrow(0)
    return {"names": names, "weights": {name: own.feeder(name).weight.tolist() for name in names}}


def loaded() -> list[int]:
    """Numbers of the samples that this process got from a loader of somebody's own, in an epoch."""
    seen: list[int] = []

    def criterion(outputs: torch.Tensor, targets: torch.Tensor, _smoothing: float) -> torch.Tensor:
        seen.extend(targets.tolist())
        return outputs.square().mean()

    numbered = TensorDataset(torch.randn(40, 2), torch.arange(40))
    trainer = Trainer(replace(RECIPE, epochs=1), criterion=criterion, cpu=True)
    trainer.train(subject(), DataLoader(numbered, 4, shuffle=True), Job(trainer.recipe))
    return seen


def found() -> dict[str, Any]:
    """What this process comes to, as JSON has it."""
    trainer = Trainer(RECIPE, cpu=True)
    own = {
        "processes": trainer.share.processes,
        "counted": counted(trainer),
        "trained": trained(),
        "narrowed": narrowed(trainer),
        "loaded": loaded(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(own))
    return plain


def main(file: Path) -> None:
    torch.set_num_threads(1)
    own = found()
    everybody: list[Any] = [None] * own["processes"]
    distributed.all_gather_object(everybody, own)
    if distributed.get_rank() == 0:
        file.write_text(json.dumps(everybody))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
