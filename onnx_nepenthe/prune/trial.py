"""Whether a network and its data go together: asked on one batch of each part, before anything is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import Batch, Data, Splits, in_order
from onnx_nepenthe.prune.modes import evaluating
from onnx_nepenthe.prune.running import evaluate, placed

FEW = 2


def check_trial(module: nn.Module, data: Splits) -> None:
    """Whether the built-in trainer can train `module` on the data.

    Raises:
        UsageError: nothing to train, another output than one tensor of classes, or labels that do not fit it.
        UnsupportedError: the network fails on the data.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UsageError("no parameter of the network is to be trained; set requires_grad of some to True")
    kinds = set()
    for name, part in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        if part is not None:
            inputs, labels = _first(part, name)
            kinds.add(_kind(_outputs(module, inputs), labels, name))
    if len(kinds) > 1:
        raise UsageError("some of the data have class numbers for labels and others probabilities; give one kind")


def _first(data: Data, name: str) -> Batch:
    for inputs, labels in in_order(data, FEW, torch.device("cpu")):
        return inputs, labels
    raise UsageError(f"the {name} data hold no samples")


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    given = placed(inputs, module)
    evaluate(module, given)
    with torch.no_grad(), evaluating(module):
        outputs: Any = module(*given)
    if not isinstance(outputs, Tensor):
        raise UsageError(
            f"the network returns a {type(outputs).__name__}; one tensor (samples, classes) is needed: wrap it in a "
            "module that returns its logits"
        )
    if outputs.ndim < 2 or len(outputs) != len(inputs[0]):
        raise UsageError(f"the network returns shape {tuple(outputs.shape)}; (samples, classes) is needed")
    return outputs


def _kind(outputs: Tensor, labels: Tensor | None, name: str) -> str:
    """What the labels are: "numbers" of classes, or "probabilities" of all of them."""
    if labels is None:
        raise UsageError(f"the {name} data have no labels; (input, label) is needed")
    if labels.is_floating_point() and labels.shape == outputs.shape:
        return "probabilities"
    if labels.dtype not in (torch.int64, torch.uint8) or labels.shape != outputs.shape[:1] + outputs.shape[2:]:
        kind, shape = str(labels.dtype).removeprefix("torch."), tuple(labels.shape)
        raise UsageError(
            f"labels of the {name} data are {kind} of shape {shape} for {len(outputs)} samples; each needs "
            "one class number, as int64 (one-hot labels: .argmax(1))"
        )
    return "numbers"
