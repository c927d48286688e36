"""Measure: the regimes of every site, counted on the device while data pass through the network.

Source: ALGORITHMS.md §1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.batches import unpack
from onnx_nepenthe.prune.counter import Counter
from onnx_nepenthe.prune.modes import evaluating
from onnx_nepenthe.prune.records import SiteStatistics
from onnx_nepenthe.prune.subject import Subject
from onnx_nepenthe.regimes import FloatArray, Tie

Statistics = dict[str, SiteStatistics]
Reduce = Callable[[Mapping[str, SiteStatistics]], Statistics]
"""From what this process counted to what all have: `distributed.merged`, say."""


@dataclass
class _Current:
    """The batch that is passing through."""

    samples: int = 0
    labels: Sequence[int] = ()


def measure(
    subject: Subject,
    batches: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    by_class: bool = False,
    sums: bool = True,
    reduce: Reduce | None = None,
) -> Statistics:
    """Name of every site → its statistics over all batches, in evaluation mode and without gradients.

    Counts are integers and depend neither on the size nor on the order of the batches. y is what the site computes now,
    which is what the layers behind it were trained with.

    Args:
        subject: the network; its modes (training or evaluation) are as they were afterwards.
        batches: (inputs, targets) each, as a DataLoader gives them.
        device: where inputs are sent; None for where the network is.
        by_class: count the samples of every class apart, too.
        sums: add up what a least-squares line needs.
        reduce: brings the counts of several processes together.

    Raises:
        UsageError: counted by class, but without a class number for every sample.
        UnsupportedError: counted by class, but a site where the samples cannot be told apart.
    """
    counters = {
        site.name: Counter(site, subject.rectifier(site.name).activation, by_class=by_class, sums=sums)
        for site in subject.sites
    }
    place, current = torch.device(device) if device is not None else device_of(subject.module), _Current()
    with evaluating(subject.module), torch.no_grad(), _tapped(subject, counters, current):
        for batch in batches:
            inputs, targets = unpack(batch, place)
            current.samples = len(inputs[0])
            current.labels = _labels(targets, current.samples) if by_class else ()
            subject.module(*inputs)
    found = {name: counter.result() for name, counter in counters.items()}
    return found if reduce is None else reduce(found)


def batch_mean_entropy(
    subject: Subject, batches: Iterable[Any], *, tie: Tie = "drop", device: torch.device | str | None = None
) -> dict[str, FloatArray]:
    """Name of every site → bits per channel, the mean over the batches of each batch's own entropy.

    This is how the papers' code counts; it depends on the batch size, and nothing here decides by it: compare it with
    `SiteStatistics.states`. Source: ALGORITHMS.md §1 (trap).
    """
    total: dict[str, FloatArray] = {site.name: np.zeros(site.channels) for site in subject.sites}
    count = 0
    for count, batch in enumerate(batches, start=1):  # noqa: B007
        for name, statistics in measure(subject, [batch], device=device, sums=False).items():
            total[name] = total[name] + statistics.states.channel_entropy(tie)
    return {name: bits / max(count, 1) for name, bits in total.items()}


def device_of(module: nn.Module) -> torch.device:
    """Where its first parameter is; the CPU when it has none."""
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def _tapped(subject: Subject, counters: Mapping[str, Counter], current: _Current) -> Iterator[None]:
    handles = [
        subject.rectifier(name).register_forward_hook(partial(_take, counter, current))
        for name, counter in counters.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _take(counter: Counter, current: _Current, module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
    counter.add(args[0], y, current.samples, current.labels)


def _labels(targets: Tensor | None, samples: int) -> list[int]:
    if targets is None:
        raise UsageError("counting by class needs the class of every sample; these data have no targets")
    is_number = not (targets.is_floating_point() or targets.is_complex())
    if targets.shape != (samples,) or not is_number:
        raise UsageError(
            f"counting by class needs one class number for each of {samples} samples; the targets are "
            f"{str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
        )
    found: list[int] = targets.tolist()
    return found
