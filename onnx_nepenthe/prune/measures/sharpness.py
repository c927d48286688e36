"""Sharpness of a minimum: the mean absolute diagonal element of the Hessian over the weights that survive.

Source: ALGORITHMS.md §6 (arXiv 2004.14765); the diagonal by Hutchinson's estimate, E[v ⊙ Hv] with v of random signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import unpack
from onnx_nepenthe.prune.modes import evaluating
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.weights import from_matrix

Loss = Callable[[Tensor, Tensor | None], Tensor]
"""(outputs, targets) → the mean loss over the samples of a batch."""
Signs = Iterable[Sequence[Tensor]]


def random_signs(like: Sequence[Tensor], probes: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
    """`probes` lists of tensors of ±1, each shaped like its counterpart; drawn on the generator's device."""
    for _ in range(probes):
        yield [_signs(tensor, generator) for tensor in like]


def diagonal(loss: Tensor, weights: Sequence[Tensor], signs: Signs) -> list[Tensor]:
    """The mean of v ⊙ Hv over the given sign vectors v: an estimate of the diagonal of the Hessian of `loss`.

    Its expectation is exact; the error of one element is the norm of its row without the diagonal, over the root of the
    number of vectors.
    """
    slopes = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
    vectors = list(signs)
    found = [torch.zeros_like(weight) for weight in weights]
    for vector in vectors:
        for total, part in zip(found, _along(slopes, weights, vector), strict=True):
            total.add_(part, alpha=1 / len(vectors))
    return found


def _along(slopes: Sequence[Tensor], weights: Sequence[Tensor], vector: Sequence[Tensor]) -> list[Tensor]:
    """v ⊙ Hv; zeros where the loss is a line in the weights."""
    curved = [(slope * v).sum() for slope, v in zip(slopes, vector, strict=True) if slope.requires_grad]
    if not curved:
        return [torch.zeros_like(weight) for weight in weights]
    products = torch.autograd.grad(torch.stack(curved).sum(), weights, retain_graph=True, materialize_grads=True)
    return [v * product.detach() for v, product in zip(vector, products, strict=True)]


def sharpness(
    module: nn.Module,
    masks: Mapping[str, Tensor],
    batches: Iterable[Any],
    loss: Loss,
    *,
    generator: torch.Generator,
    probes: int = 8,
) -> float:
    """Mean |diagonal of the Hessian| over the weights whose mask is True, of the mean loss over all samples.

    The module is in evaluation mode meanwhile. Absolute values of an estimate lean upwards: compare networks at the
    same number of probes and samples.

    Args:
        module: called with the inputs of a batch.
        masks: name of a parameter → bool tensor of its shape; see `weight_masks`.
        batches: (inputs, targets), as `tap.measure` takes them.
        loss: of a batch.
        generator: the only source of randomness.
        probes: sign vectors per batch.

    Raises:
        UsageError: no batch, or no weight under the masks.
    """
    parameters = dict(module.named_parameters())
    weights = [parameters[name] for name in masks]
    kept = [masks[name].to(weight.device) for name, weight in zip(masks, weights, strict=True)]
    totals, samples = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights], 0
    survive = sum(int(mask.sum()) for mask in kept)
    with evaluating(module), torch.enable_grad():
        for batch in batches if survive else ():
            inputs, targets = unpack(batch, weights[0].device)
            drawn = random_signs(weights, probes, generator)
            # Zero signs leave the rows and columns of masked weights out of the Hessian.
            signs = [[v * mask for v, mask in zip(vector, kept, strict=True)] for vector in drawn]
            parts = diagonal(loss(module(*inputs), targets), weights, signs)
            for total, part in zip(totals, parts, strict=True):
                total.add_(part, alpha=len(inputs[0]))
            samples += len(inputs[0])
    if not samples:
        raise UsageError("sharpness needs at least one batch and one weight that is not masked")
    return sum(float(total.abs().sum()) for total in totals) / samples / survive


def weight_masks(subject: Subject) -> dict[str, Tensor]:
    """Name of every prunable weight → its mask, in the shape of the weight."""
    return {f"{name}.weight": from_matrix(subject.feeder(name), mask) for name, mask in subject.masks.items()}


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, like.shape, generator=generator, device=generator.device)
    return (2 * bits - 1).to(like)
