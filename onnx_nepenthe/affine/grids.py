"""Where the taps of two convolutions fall when one follows the other, and when there is no use in merging them."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod

from onnx_nepenthe.affine.maps import Conv, Ints
from onnx_nepenthe.errors import Refused

LARGEST_WEIGHT = 1 << 27
"""Entries of the largest merged weight that is worth computing (1 GiB of float64)."""
LARGEST_EFFORT = 4_000_000_000
"""Multiply-adds of the most expensive composition that is worth computing (a second or so)."""
TOO_LARGE = Refused("the merged weight would be too large to be worth computing")
BORDER = Refused(
    "border: the second convolution is padded, so the outermost outputs would be wrong",
    "move all padding to the first convolution before the last fine-tuning",
)


@dataclass(frozen=True)
class Grid:
    """Where the taps of both convolutions fall, per spatial axis."""

    dilations: Ints
    kernel: Ints
    first_steps: Ints
    second_steps: Ints


def grid_of(second: Conv, first: Conv) -> Grid:
    """The taps of `second` after `first`."""
    dilations, kernel, first_steps, second_steps = [], [], [], []
    for axis in range(first.spatial):
        k1, k2 = first.kernel[axis], second.kernel[axis]
        d1, d2 = first.dilations[axis], first.strides[axis] * second.dilations[axis]
        step = gcd(d1 if k1 > 1 else 0, d2 if k2 > 1 else 0) or 1
        dilations.append(step)
        first_steps.append(d1 // step if k1 > 1 else 1)
        second_steps.append(d2 // step if k2 > 1 else 1)
        kernel.append((k1 - 1) * first_steps[-1] + (k2 - 1) * second_steps[-1] + 1)
    return Grid(tuple(dilations), tuple(kernel), tuple(first_steps), tuple(second_steps))


def pads_after(first: Ints, strides: Ints, second: Ints) -> Ints:
    """Pads of the merged convolution, on one side; `strides` are those of the first."""
    return tuple(p1 + s1 * p2 for p1, s1, p2 in zip(first, strides, second, strict=True))


def try_padding(second: Conv, first: Conv) -> Refused | None:
    """The refusal that follows from kernels and padding alone, if there is one."""
    for axis in range(first.spatial):
        if first.kernel[axis] > 1 and (second.pads_begin[axis] or second.pads_end[axis]):
            return BORDER
    return None


def is_too_large(second: Conv, first: Conv, grid: Grid) -> bool:
    """Whether the merged weight is not worth computing."""
    groups = gcd(first.groups, second.groups)
    entries = second.weight.shape[0] * (first.in_channels // groups) * prod(grid.kernel)
    return entries > LARGEST_WEIGHT or effort_of(second, first, groups) > LARGEST_EFFORT


def effort_of(second: Conv, first: Conv, groups: int) -> int:
    """Multiply-adds of computing the merged weight."""
    per_output = second.weight.shape[1] * prod(second.kernel) * first.in_channels // groups * prod(first.kernel)
    return int(second.weight.shape[0] * per_output)
