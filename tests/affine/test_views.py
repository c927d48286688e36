"""Views against numpy: whatever is not refused is what reshape and transpose give."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_nepenthe.affine.views import View, group_size, is_straight, reshaped, straight, transposed, value_shape
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Dim, Shape


def viewed(x: np.ndarray, view: View) -> np.ndarray:
    """The value: axes in the view's order, each group merged."""
    order = [axis for group in view for axis in group]
    rest = [axis for axis in range(x.ndim) if axis not in order]
    assert all(x.shape[axis] == 1 for axis in rest), "an axis was lost"
    assert len(set(order)) == len(order), "an axis is used twice"
    return x.transpose(order + rest).reshape([prod(x.shape[axis] for axis in group) for group in view])


@st.composite
def targets(draw: st.DrawFn, shape: tuple[int, ...], stated: Shape) -> list[Dim]:
    """A reshape: axes merged, split, ones put in or dropped, sometimes mixed, one -1."""
    target: list[Dim] = []
    rest = list(zip(shape, stated, strict=True))
    while rest:
        take = draw(st.integers(1, len(rest)))
        part, rest = rest[:take], rest[take:]
        size = prod(n for n, _ in part)
        divisors = [n for n in range(1, size + 1) if size % n == 0]
        split = draw(st.sampled_from(divisors))
        match draw(st.sampled_from(("merge", "merge", "split", "one", "drop"))):
            case "split":
                target += [split, size // split]
            case "one":
                target += [1, size]
            case "drop" if size == 1:
                pass
            case _:
                target.append(part[0][1] if take == 1 else size)
    if target and draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return target


@settings(max_examples=400)
@given(data=st.data())
def test_a_chain_of_reshapes_and_transposes(data: st.DataObject) -> None:
    draw = data.draw
    shape = tuple(draw(st.lists(st.sampled_from((1, 1, 2, 3, 4)), min_size=1, max_size=4)))
    stated = tuple(draw(st.sampled_from((size, size, f"d{axis}"))) for axis, size in enumerate(shape))
    x = np.arange(prod(shape)).reshape(shape)
    view, value, sizes = straight(len(shape)), x, stated
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            perm = draw(st.permutations(range(value.ndim)))
            view, value = transposed(view, perm), value.transpose(perm)
        else:
            target = draw(targets(value.shape, sizes))
            after = reshaped(view, stated, target)
            if isinstance(after, Refused):
                continue
            known: dict[Dim, int] = {None: -1} | {f"d{axis}": size for axis, size in enumerate(shape)}
            view, value = after, value.reshape([known.get(n, n) for n in target])
        assert np.array_equal(viewed(x, view), value)
        sizes = value_shape(view, stated)
        for size, actual in zip(sizes, value.shape, strict=True):
            assert size == actual or size is None or size == f"d{stated.index(size)}"


EXACT: list[tuple[Shape, list[Dim], View]] = [
    (("N", 4, 8), [-1, 8], ((0, 1), (2,))),
    (("N", 4, 8), ["N", 32], ((0,), (1, 2))),
    (("N", 4, 8), ["N", -1], ((0,), (1, 2))),
    ((2, "T", 8), [-1, 8], ((0, 1), (2,))),
    (("N", "T", 8), ["N", "T", 8], ((0,), (1,), (2,))),
    (("N", "T", 8), ["N", -1, 8], ((0,), (1,), (2,))),
    (("N", 4, 1, 1), ["N", 4], ((0,), (1,))),
    (("N", 4, 1, 1), ["N", -1], ((0,), (1,))),
    (("N", 4, 1, 1), [-1, 4], ((0,), (1,))),
    ((1, 4, 6), [4, 6], ((1,), (2,))),
    ((4, 6), [4, 1, 6], ((0,), (), (1,))),
    ((4, 6), [1, 4, 6, 1], ((), (0,), (1,), ())),
    (("N", 4), [1, -1, 4], ((), (0,), (1,))),
    ((4, 6), [24], ((0, 1),)),
    ((), [1, 1], ((), ())),
    ((1,), [], ()),
    ((4,), [4, -1], ((0,), ())),
]


@pytest.mark.parametrize(("shape", "target", "view"), EXACT)
def test_reshapes_that_only_regroup_are_read(shape: Shape, target: list[Dim], view: View) -> None:
    assert reshaped(straight(len(shape)), shape, target) == view


@pytest.mark.parametrize(
    ("shape", "target", "reason"),
    [
        ((4, 6), [6, 4], "mixes"),
        ((4, 6), [2, 12], "mixes"),
        ((4, 6), [-1, 4], "mixes"),
        ((4, 6), [8, -1], "mixes"),
        ((4, 6), [4], "mixes"),
        (("N", 4), ["N", 2, 2], "mixes"),
        (("N", 4), [8, -1], "mixes"),
        (("N", 4, "T"), ["T", 4, "N"], "mixes"),
        ((None, 4), [3, 4], "mixes"),
        ((4, 6), [-1, None], "more than one unknown"),
        ((None, None, 4), [None, -1, 4], "more than one unknown"),
    ],
)
def test_reshapes_that_do_more_are_refused(shape: Shape, target: list[Dim], reason: str) -> None:
    refused = reshaped(straight(len(shape)), shape, target)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_there_and_back_is_straight() -> None:
    shape: Shape = ("N", 4, 6, 5)
    flat = reshaped(straight(4), shape, [-1, 30])
    assert not isinstance(flat, Refused)
    assert not is_straight(flat, 4)
    back = reshaped(flat, shape, [-1, 4, 6, 5])
    assert not isinstance(back, Refused)
    assert is_straight(back, 4)
    assert is_straight(transposed(transposed(straight(4), (0, 2, 3, 1)), (0, 3, 1, 2)), 4)


def test_sizes_of_groups() -> None:
    assert group_size((), (2, 3)) == 1
    assert group_size((0, 1), (2, 3)) == 6
    assert group_size((0, 1), ("N", 1)) == "N"
    assert group_size((0, 1), ("N", 2)) is None
    assert group_size((0,), (None,)) is None
    assert value_shape(((1, 2), (0,)), ("N", 2, 3)) == (6, "N")
