"""Narrow a linear run of convolutions to the kernel of its first one, so that the run is one of that kernel.

Two 3×3 convolutions with nothing but lines between them are one 5×5 convolution, which takes 1.39 times as many
multiply-adds: fewer layers, and slower (ALGORITHMS.md §10). Where all but the centre tap of the later ones are zero,
the run is one convolution with the kernel of the first. The taps go under a mask, and the centre is fitted by least
squares to what the convolution made of its input before. This costs accuracy, which a fine-tuning is to bring back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from onnx_nepenthe.prune.batches import unpack
from onnx_nepenthe.prune.chains import PlainConv, before, called_once, padding_of, plain_conv
from onnx_nepenthe.prune.modes import evaluating
from onnx_nepenthe.prune.records import Proposal
from onnx_nepenthe.prune.snapshot import snapshot
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.prune.tap import device_of
from onnx_nepenthe.prune.weights import as_matrix, from_matrix, weight_of

RIDGE = 1e-6
"""Of the mean square of the inputs; keeps channels that are always zero from making the fit singular."""
Reduce = Callable[[torch.Tensor], torch.Tensor]
"""Adds a tensor up over all processes: `distributed.summed`, say."""


@dataclass(frozen=True)
class Narrowed:
    """A convolution of which the centre tap is left.

    Attributes:
        first: qualified name of the convolution of the run whose kernel stays.
        conv: its own.
        explained: share of the variance of its results that the fitted centre explains, 1 at most.
    """

    first: str
    conv: str
    explained: float


def narrow(
    subject: Subject, batches: Callable[[], Iterable[Any]], reduce: Reduce = lambda sums: sums, *, share: float = 1.0
) -> tuple[Narrowed, ...]:
    """Leave one tap of every later convolution with a wide kernel in a run of convolutions, norms and lines.

    The fits follow each other: inputs are those of the network as narrowed so far, targets those of the one before.
    What is masked stays so, and the rest is fitted without it.
    Left alone are convolutions that are called twice, share their weight or feed no site (nothing would keep their taps
    at zero), grouped ones, and those whose padding is not half the kernel: no other keeps the centre over the results.

    Args:
        subject: changed in place: masks, weights and biases.
        batches: gives the same (inputs, targets) every time; one pass for each convolution.
        reduce: adds up the sums of several processes.
        share: of the convolutions that can be narrowed: those that fit best when all are; half of one is none.

    Source: ALGORITHMS.md §8 (a block as one 3×3 convolution) and §10; DepthShrinker (arXiv 2206.00843).
    """
    original, state = copy.deepcopy(subject.module), snapshot(subject)
    found = [_narrowed(subject, original, pair, batches, reduce) for pair in _wide(subject)]
    if share < 1 and found:
        subject.load_state_dict(state)
        best = sorted(found, key=lambda one: -one.explained)[: round(share * len(found))]
        pairs = [(one.first, one.conv) for one in found if one in best]
        found = [_narrowed(subject, original, pair, batches, reduce) for pair in pairs]
    return tuple(found)


def _wide(subject: Subject) -> list[tuple[str, str]]:
    """(The first wide convolution of a run, one to narrow), in the order of the graph."""
    alone = called_once(subject.module)
    widest: dict[str, str] = {}
    found = []
    for node, module in alone.items():
        conv = plain_conv(module)
        if conv is None:
            continue
        name, behind = str(node.target), before(node, alone)
        first = None if behind is None else widest.get(behind[0])
        if first is not None:
            widest[name] = first
        elif prod(conv.kernel_size) > 1:
            widest[name] = name
        if first is not None and name in subject.masks and _has_centre(conv) and not subject.is_shared(name):
            found.append((first, name))
    return found


def _has_centre(conv: PlainConv) -> bool:
    sizes = zip(conv.kernel_size, padding_of(conv), conv.dilation, strict=True)
    is_centred = all(kernel % 2 and padding == dilation * (kernel // 2) for kernel, padding, dilation in sizes)
    return conv.groups == 1 and prod(conv.kernel_size) > 1 and is_centred


@torch.no_grad()
def _narrowed(
    subject: Subject,
    original: nn.Module,
    pair: tuple[str, str],
    batches: Callable[[], Iterable[Any]],
    reduce: Reduce,
) -> Narrowed:
    first, name = pair
    conv = plain_conv(subject.feeder(name))
    assert conv is not None
    inputs, columns = conv.in_channels, conv.in_channels + (conv.bias is not None)
    sums = reduce(_products(subject.module, original, name, batches()))
    own, mixed, target = sums[:columns, :columns], sums[:columns, inputs + 1 :], sums[inputs + 1 :, inputs + 1 :]
    ridge = RIDGE * float(own.diagonal()[:inputs].mean()) + torch.finfo(own.dtype).tiny
    kept = from_matrix(conv, subject.masks[name].to(sums.device))
    ridged = own + ridge * torch.eye(columns).to(own)
    solution = _fitted(ridged, mixed, torch.cat([_centre(kept).T, kept.new_ones(columns - inputs, conv.out_channels)]))
    weight, mask = weight_of(conv), torch.zeros_like(weight_of(conv), dtype=torch.bool)
    _centre(mask).fill_(True)
    _centre(weight).copy_(solution[:inputs].T)
    if conv.bias is not None:
        conv.bias.copy_(solution[-1])
    subject.apply(Proposal(masks={name: as_matrix(conv, mask).cpu().numpy()}), {})
    means = sums[inputs, inputs + 1 :]
    variance = target.trace() - means @ means / sums[inputs, inputs]
    missed = target.trace() - 2 * (solution * mixed).sum() + (solution * (own @ solution)).sum()
    return Narrowed(first, name, 1 - float(missed / variance.clamp_min(torch.finfo(own.dtype).tiny)))


def _fitted(own: torch.Tensor, mixed: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """float64 (columns, out): least squares from products, of each output over the columns that are `kept` for it."""
    if bool(kept.all()):
        solution: torch.Tensor = torch.linalg.solve(own, mixed)
        return solution
    solution = torch.zeros_like(mixed)
    for output, rows in enumerate(kept.T):
        solution[rows, output] = torch.linalg.solve(own[rows][:, rows], mixed[rows, output])
    return solution


def _products(module: nn.Module, original: nn.Module, name: str, batches: Iterable[Any]) -> torch.Tensor:
    """float64 (in + 1 + out,)²: products of what is under the centre tap, 1 and the original's result, summed up."""
    device = device_of(module)
    conv = plain_conv(module.get_submodule(name))
    assert conv is not None
    sums = torch.zeros(2 * (conv.in_channels + 1 + conv.out_channels,), dtype=torch.float64, device=device)
    seen: dict[str, torch.Tensor] = {}
    handles = [
        conv.register_forward_hook(lambda _conv, args, _y: seen.update(input=args[0])),
        original.get_submodule(name).register_forward_hook(lambda _conv, _args, y: seen.update(target=y)),
    ]
    try:
        with evaluating(module), evaluating(original):
            for batch in batches:
                inputs, _ = unpack(batch, device)
                module(*inputs), original(*inputs)
                x, y = (value.double().transpose(0, 1) for value in (seen["input"], seen["target"]))
                x = x[tuple(slice(None, None, step) for step in (1, 1, *conv.stride))].flatten(1)
                rows = torch.cat([x, torch.ones_like(x[:1]), y.flatten(1)])
                sums += rows @ rows.T
    finally:
        for handle in handles:
            handle.remove()
    return sums


def _centre(weight: torch.Tensor) -> torch.Tensor:
    """A view (out, in) of the tap in the middle."""
    for size in weight.shape[2:]:
        weight = weight.select(2, size // 2)
    return weight
