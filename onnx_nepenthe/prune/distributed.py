"""Several processes, each with its share of the data, that come to the same decisions as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.prune.batches import ALONE, Share
from onnx_nepenthe.prune.records import SiteStatistics
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.sums import LineSums

Added = TypeVar("Added", ClassCounts, LineSums, RegimeCounts)


def own_share() -> Share:
    """This process's, of those that were started together (by `accelerate launch`, say)."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ALONE
    return Share(distributed.get_rank(), distributed.get_world_size())


def merged(statistics: Mapping[str, SiteStatistics], share: Share) -> dict[str, SiteStatistics]:
    """What all processes counted, each on its share: the same on every one, and for counts what one would count.

    Sums of z and y are added in the order of the ranks, so that they too are the same on every process, but they may
    differ in the last bits from those of another number of processes.
    """
    if share.processes == 1:
        return dict(statistics)
    # A share may have had no batch, and so no statistics at all.
    parts = [part for part in _gathered(dict(statistics), share) if part]
    return {name: reduce(_added, (part[name] for part in parts)) for name in parts[0]}


def _gathered(value: Any, share: Share) -> list[Any]:
    found: list[Any] = [None] * share.processes
    distributed.all_gather_object(found, value)
    return found


def _added(one: SiteStatistics, other: SiteStatistics) -> SiteStatistics:
    return replace(
        one,
        counts=one.counts + other.counts,
        classes=_both(one.classes, other.classes),
        sums=_both(one.sums, other.sums),
        signs=_both(one.signs, other.signs),
        samples=one.samples + other.samples,
    )


def _both(one: Added | None, other: Added | None) -> Added | None:
    return one if other is None else other if one is None else one + other


def summed(values: torch.Tensor, share: Share) -> torch.Tensor:
    """The sum of a tensor over all processes; the tensor itself when there is one."""
    if share.processes > 1:
        distributed.all_reduce(values)
    return values


def synchronise(module: nn.Module, share: Share) -> None:
    """Every process takes the first one's parameters and buffers; running statistics differ after training."""
    if share.processes == 1:
        return
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            distributed.broadcast(tensor.data, 0)


def wait(share: Share) -> None:
    """Until all processes are here."""
    if share.processes > 1:
        distributed.barrier()
