"""Convolution after convolution, and convolutions of one input aligned on one grid of taps.

The identities (ALGORITHMS.md §9), per spatial axis and with `*` for placing kernels on a grid:

    weight(2∘1) = W2 * W1 spread by s1·d2        stride s1·s2      pads p1 + s1·p2
    border(2∘1) = W2 * V1 + (W2 b1 + V2) at the tap of the first convolution that reads its own position
    bias(2∘1)   = b2 (+ W2 b1 summed over the kernel, when the second reads nothing beyond the edge)

They are exact when, on every axis where the second convolution is padded, the first has a single tap:
otherwise the second would have to see zeros where the merged one sees outputs of the first that were
never computed.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd

import numpy as np

from onnx_nepenthe.affine.grids import BORDER, TOO_LARGE, Grid, grid_of, is_too_large, pads_after, try_padding
from onnx_nepenthe.affine.maps import Conv, FloatArray, Ints, with_settled_border
from onnx_nepenthe.affine.windows import behind
from onnx_nepenthe.errors import Refused


def compose_convs(second: Conv, first: Conv) -> Conv | Refused:
    """`second` after `first` as one convolution, or the reason why there is none."""
    first, second = trimmed(first), trimmed(second)
    refusal = _try_border(second, first)
    if refusal is not None:
        return refusal
    grid = grid_of(second, first)
    groups = gcd(first.groups, second.groups)
    if is_too_large(second, first, grid):
        return TOO_LARGE
    bias, border = _constants(second, first, grid)
    merged = Conv(
        weight=_weight(second, first, groups, grid),
        bias=bias,
        strides=tuple(a * b for a, b in zip(first.strides, second.strides, strict=True)),
        dilations=grid.dilations,
        pads_begin=pads_after(first.pads_begin, first.strides, second.pads_begin),
        pads_end=pads_after(first.pads_end, first.strides, second.pads_end),
        groups=groups,
        border=border,
    )
    return with_settled_border(merged)


def _try_border(second: Conv, first: Conv) -> Refused | None:
    constant = first.bias.any() or second.border is not None
    refusal = try_padding(second, first)
    if refusal is not None:
        return refusal
    if second.is_padded and constant and _own_tap(first) is None:
        return BORDER
    return None


def _own_tap(m: Conv) -> Ints | None:
    """The tap that reads the output's own position times the stride, if it never leaves the input."""
    if any(tail > 0 for tail in m.tails):
        return None
    if any(begin % d for begin, d in zip(m.pads_begin, m.dilations, strict=True)):
        return None
    return tuple(begin // d for begin, d in zip(m.pads_begin, m.dilations, strict=True))


def _weight(second: Conv, first: Conv, groups: int, grid: Grid) -> FloatArray:
    """(out, in / groups, *grid.kernel); the one of the two with more groups is never made dense."""
    if first.groups == groups or second.groups > groups:
        return _spread(second.weight, second.groups, regroup(first, groups), grid)
    parts, inside = first.groups, first.groups // groups
    out = second.weight.shape[0]
    columns = second.weight.reshape(groups, out // groups, inside, -1, *second.kernel).swapaxes(1, 2)
    columns = columns.reshape(parts * (out // groups), -1, *second.kernel)
    merged = _spread(columns, parts, first.weight, grid)
    merged = merged.reshape(groups, inside, out // groups, -1, *grid.kernel).swapaxes(1, 2)
    return merged.reshape(out, -1, *grid.kernel)


def _spread(w2: FloatArray, groups: int, w1: FloatArray, grid: Grid) -> FloatArray:
    """(out, in, *grid.kernel) from w2 (out, mid / groups, *k2) and w1 (mid, in, *k1)."""
    out, inputs = w2.shape[0], w1.shape[1]
    blocks2 = w2.reshape(groups, out // groups, *w2.shape[1:])
    blocks1 = w1.reshape(groups, w1.shape[0] // groups, -1)
    merged = np.zeros((out, inputs, *grid.kernel))
    for tap in np.ndindex(*w2.shape[2:]):
        part = blocks2[behind(tap)] @ blocks1
        merged[behind(_window(tap, w1.shape[2:], grid))] += part.reshape(out, inputs, *w1.shape[2:])
    return merged


def _window(tap: Ints, kernel1: Ints, grid: Grid) -> tuple[slice, ...]:
    steps = zip(tap, grid.second_steps, kernel1, grid.first_steps, strict=True)
    return tuple(slice(t * s2, t * s2 + (k - 1) * s1 + 1, s1) for t, s2, k, s1 in steps)


def _constants(second: Conv, first: Conv, grid: Grid) -> tuple[FloatArray, FloatArray | None]:
    """Bias (out,) and border (out, *grid.kernel) of the merged convolution."""
    out = second.weight.shape[0]
    blocks = second.weight.reshape(second.groups, out // second.groups, *second.weight.shape[1:])
    seen = np.einsum("gom...,gm->go...", blocks, first.bias.reshape(second.groups, -1)).reshape(out, *second.kernel)
    if second.border is not None:
        seen = seen + second.border
    bias, border = second.bias, np.zeros((out, *grid.kernel))
    own = _own_tap(first)
    if not second.is_padded:
        bias = bias + seen.reshape(out, -1).sum(axis=1)
    elif seen.any() and own is not None:
        for tap in np.ndindex(*second.kernel):
            at = zip(tap, grid.second_steps, own, grid.first_steps, strict=True)
            border[behind(t * s2 + u * s1 for t, s2, u, s1 in at)] += seen[behind(tap)]
    if first.border is not None:
        border += _spread(second.weight, second.groups, first.border[:, None], grid)[:, 0]
    return bias, border if border.any() else None


def regroup(m: Conv, groups: int) -> FloatArray:
    """The weight (out, in / groups, *kernel) of `m` with fewer groups; `groups` divides `m.groups`."""
    if groups == m.groups:
        return m.weight
    out, per_group = m.weight.shape[:2]
    inside = m.groups // groups
    weight = np.zeros((groups, inside, out // m.groups, inside, per_group, *m.kernel))
    blocks = m.weight.reshape(groups, inside, out // m.groups, per_group, *m.kernel)
    for index in range(inside):
        weight[:, index, :, index] = blocks[:, index]
    return weight.reshape(out, inside * per_group, *m.kernel)


def align_convs(maps: list[Conv], sizes: tuple[int | None, ...]) -> list[Conv] | Refused:
    """The same convolutions on one common grid of taps: equal kernels, dilations, pads and strides.

    Args:
        maps: of one input, with outputs of equal spatial size.
        sizes: spatial sizes of the input, None where unknown.
    """
    if len({m.strides for m in maps}) > 1:
        return Refused("the branches have different strides")
    spatial = maps[0].spatial
    begins, steps, kernels, ends = [], [], [], []
    for axis in range(spatial):
        lows = [-m.pads_begin[axis] for m in maps]
        highs = [low + (m.kernel[axis] - 1) * m.dilations[axis] for m, low in zip(maps, lows, strict=True)]
        tail = _common_tail([m.tails[axis] for m in maps], maps[0].strides[axis], sizes[axis])
        if tail is None:
            return Refused("the branches give different spatial sizes")
        low, high = min(lows), max(highs)
        step = gcd(*(m.dilations[axis] for m in maps if m.kernel[axis] > 1), *(one - low for one in lows)) or 1
        begins.append(-low)
        steps.append(step)
        kernels.append((high - low) // step + 1)
        ends.append(tail + high)
    geometry = (tuple(begins), tuple(steps), tuple(kernels), tuple(ends))
    return [_ongrid_of(m, *geometry) for m in maps]


def _common_tail(tails: list[int], stride: int, size: int | None) -> int | None:
    if len(set(tails)) == 1:
        return tails[0]
    if size is None or len({(size - 1 + tail) // stride for tail in tails}) > 1:
        return None
    return max(tails)


def _ongrid_of(m: Conv, begins: Ints, steps: Ints, kernel: Ints, ends: Ints) -> Conv:
    window = []
    for axis, size in enumerate(m.kernel):
        start = (begins[axis] - m.pads_begin[axis]) // steps[axis]
        stride = m.dilations[axis] // steps[axis] if size > 1 else 1
        window.append(slice(start, start + (size - 1) * stride + 1, stride))
    weight = np.zeros((*m.weight.shape[:2], *kernel))
    weight[behind(window)] = m.weight
    border = None
    if m.border is not None:
        border = np.zeros((len(m.bias), *kernel))
        border[behind(window)] = m.border
    return replace(m, weight=weight, border=border, dilations=steps, pads_begin=begins, pads_end=ends)


def trimmed(m: Conv) -> Conv:
    """The same map without outer rows of taps that are all zero and only reach into the padding's width.

    A row is as far from the next as the dilation, and takes as much of the padding with it; the output keeps its size
    for every size of the input, as kernel and padding shrink alike. One tap is left at least, and padding is never
    negative. Weights are looked at in place; the result's are a view of them.
    """
    for axis in range(m.spatial):
        while m.kernel[axis] > 1 and m.pads_begin[axis] >= m.dilations[axis] and _is_empty(m, axis, 0):
            m = _without(m, axis, slice(1, None), "pads_begin")
        while m.kernel[axis] > 1 and m.pads_end[axis] >= m.dilations[axis] and _is_empty(m, axis, -1):
            m = _without(m, axis, slice(0, -1), "pads_end")
    return with_settled_border(m)


def _is_empty(m: Conv, axis: int, tap: int) -> bool:
    row = behind(tap if at == axis else slice(None) for at in range(m.spatial))
    weight = m.weight[row]
    # A row that is zero for the first output alone is rare: whole rows are seldom read.
    if weight[:1].any() or weight.any():
        return False
    return m.border is None or not m.border[row].any()


def _without(m: Conv, axis: int, keep: slice, side: str) -> Conv:
    pads = list(getattr(m, side))
    pads[axis] -= m.dilations[axis]
    spatial = [slice(None)] * m.spatial
    spatial[axis] = keep
    weight = m.weight[behind(spatial)]
    border = None if m.border is None else m.border[behind(spatial)]
    smaller = replace(m, weight=weight, border=border)
    return replace(smaller, pads_begin=tuple(pads)) if side == "pads_begin" else replace(smaller, pads_end=tuple(pads))
