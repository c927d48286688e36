"""Neighbours that cannot become one operator although both are affine, where something would let them."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.regions import Affine, Atlas

_PADDED = frozenset({"Conv", "AveragePool"})
"""Operators whose refusals have a remedy: padding can move. Others are not looked at, which costs time."""


def unmerged(atlas: Atlas) -> Iterator[tuple[str, Refused]]:
    """Labels of the first and the last operator, and why not; nothing is composed, so weights do not matter.

    Every operator is named once, with the nearest one that it cannot join; those behind it inherit that.
    """
    for value in atlas.affine.values():
        if value.op.op_type not in _PADDED:
            continue
        for source in atlas.sources(value.name):
            found = atlas.outline(source, value.name)
            if not isinstance(found, Refused):
                continue
            if found.lift and not _is_inherited(atlas, source, value):
                first = atlas.path(source, value.name)[0]
                yield f"{atlas.affine[first].op.label} + {value.op.label}", found
            break


def _is_inherited(atlas: Atlas, source: str, value: Affine) -> bool:
    return any(isinstance(atlas.outline(source, name), Refused) for name in value.operands if name != source)
