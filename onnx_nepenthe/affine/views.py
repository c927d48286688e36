"""Axis bookkeeping: how the axes of a value are made of the axes of a map's result.

A view is one group per axis of the value: the axes of the underlying tensor that are merged into it,
in order. `()` is an inserted axis of size 1; an axis that occurs in no group has size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Dim, Shape

View = tuple[tuple[int, ...], ...]
MIXES = Refused("the reshape mixes axes")


def straight(rank: int) -> View:
    """The view that changes nothing.

    >>> straight(2)
    ((0,), (1,))
    """
    return tuple((axis,) for axis in range(rank))


def is_straight(view: View, rank: int) -> bool:
    """Whether the value *is* the tensor."""
    return view == straight(rank)


def transposed(view: View, perm: Sequence[int]) -> View:
    """The view after a Transpose of the value."""
    return tuple(view[axis] for axis in perm)


def group_size(group: tuple[int, ...], shape: Shape) -> Dim:
    """Size of one axis of the value; None when it is a product with an unknown factor."""
    sizes = [shape[axis] for axis in group if shape[axis] != 1]
    if len(sizes) == 1:
        return sizes[0]
    numbers = [size for size in sizes if isinstance(size, int)]
    return prod(numbers) if len(numbers) == len(sizes) else None


def value_shape(view: View, shape: Shape) -> Shape:
    """Shape of the value, given the shape of the tensor."""
    return tuple(group_size(group, shape) for group in view)


def reshaped(view: View, shape: Shape, target: Sequence[Dim]) -> View | Refused:
    """The view after a Reshape of the value to `target`.

    Args:
        view: before.
        shape: of the underlying tensor.
        target: wanted sizes; at most one of them -1 or None.

    >>> reshaped(straight(3), ("N", 4, 8), [-1, 8])
    ((0, 1), (2,))
    >>> reshaped(((0, 1), (2,)), ("N", 4, 8), [-1, 4, 8])
    ((0,), (1,), (2,))
    """
    atoms = [axis for group in view for axis in group]
    wanted = [None if size == -1 else size for size in target]
    if wanted.count(None) > 1:
        return Refused("the reshape has more than one unknown size")
    left_end = wanted.index(None) if None in wanted else len(wanted)
    left = _take(atoms, shape, wanted[:left_end])
    if left is None:
        return MIXES
    groups, atoms = left
    if left_end == len(wanted):
        return tuple(groups) if all(shape[axis] == 1 for axis in atoms) else MIXES
    right = _take(atoms[::-1], shape, wanted[:left_end:-1])
    if right is None:
        return MIXES
    tail, rest = right
    middle = _clean(tuple(reversed(rest)), shape)
    return (*groups, middle, *(tuple(reversed(group)) for group in reversed(tail)))


def _take(atoms: list[int], shape: Shape, sizes: Sequence[Dim]) -> tuple[list[tuple[int, ...]], list[int]] | None:
    """Split axes off the front of `atoms` so that their products are `sizes`; None when impossible."""
    rest = list(atoms)
    groups: list[tuple[int, ...]] = []
    for size in sizes:
        if size == 1:
            groups.append((rest.pop(0),) if rest and shape[rest[0]] == 1 else ())
            continue
        group: list[int] = []
        while group_size(tuple(group), shape) != size or not group:
            if not rest or (isinstance(group_size(tuple(group), shape), str) and shape[rest[0]] != 1):
                return None
            group.append(rest.pop(0))
        groups.append(_clean(tuple(group), shape))
    return groups, rest


def _clean(group: tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """The group without axes of size 1, unless nothing else would be left."""
    kept = tuple(axis for axis in group if shape[axis] != 1)
    return kept or group[:1]
