"""Move padding to the first convolution of a linear run, so that the run is one convolution.

Two padded convolutions are no convolution: the second sees zeros where one convolution sees results of the first that
were never computed. With all padding on the first they are (ALGORITHMS.md §9). Moving it changes what the network
computes near the edges, so it belongs before the last fine-tuning.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx_nepenthe.prune.chains import PlainConv, before, called_once, padding_of, plain_conv
from onnx_nepenthe.prune.subject import Subject


@dataclass(frozen=True)
class Move:
    """Padding that went from one convolution to the one before it.

    Attributes:
        first, second: their qualified names.
        padding: what the second had, per spatial axis, but for what it keeps.
    """

    first: str
    second: str
    padding: tuple[int, ...]


def move_padding(subject: Subject, keep: Collection[str] = ()) -> tuple[Move, ...]:
    """Move padding within every run of convolutions, norms and linear rectifiers to the run's first convolution.

    `p1 + s1 · p2` on the first and 0 on the second give results of the same size. A run ends where a value is read
    twice, at a convolution that is called twice, and at one that does not pad with zeros.

    Args:
        subject: changed in place.
        keep: names of narrowed convolutions, whose taps over the padding are zero: they keep as much as their kernel
            needs, and hand on what they got from later ones.

    Source: ALGORITHMS.md §9; Kim et al. (arXiv 2301.12187) and LayerMerge (arXiv 2406.12837) re-order padding likewise.
    """
    alone = called_once(subject.module)
    moves = []
    # From the end, so that what a convolution got is handed on.
    for node in reversed(alone):
        second = plain_conv(alone[node])
        found = None if second is None or not any(second.padding) else before(node, alone)
        if second is None or found is None:
            continue
        name, first = found
        kept = _under_the_kernel(second) if node.target in keep else (0,) * len(second.padding)
        padding = tuple(p - own for p, own in zip(padding_of(second), kept, strict=True))
        if not any(padding):
            continue
        mine = zip(padding_of(first), first.stride, padding, strict=True)
        subject.set_padding(name, tuple(p1 + s1 * p2 for p1, s1, p2 in mine))
        subject.set_padding(str(node.target), kept)
        moves.append(Move(name, str(node.target), padding))
    return tuple(reversed(moves))


def _under_the_kernel(conv: PlainConv) -> tuple[int, ...]:
    """What keeps the centre tap over the results."""
    return tuple(d * (k // 2) for k, d in zip(conv.kernel_size, conv.dilation, strict=True))
