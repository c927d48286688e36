"""What a network of the registry is, and how widths are rounded."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from onnx_nepenthe.registry import Registry

Build = Callable[[int, int, int, float], nn.Module]
"""(channels, size, classes, width) → a network from (N, channels, size, size) to (N, classes), freshly initialised.

`width` multiplies every number of channels; 1 is the published network.
"""
NETWORKS: Registry[Build] = Registry("network")
"""Name on the command line → network; filled when the package is imported, one network a file."""
SMALL = 64
"""Images up to this many pixels a side get a stem that keeps their size, as is usual for CIFAR."""


def scaled(channels: int, width: float, multiple: int = 4) -> int:
    """`channels · width` as the nearest multiple, at least one; never below nine tenths of it.

    >>> scaled(64, 1.0), scaled(64, 0.3), scaled(24, 0.01)
    (64, 20, 4)
    """
    wanted = channels * width
    nearest = max(multiple, int(wanted + multiple / 2) // multiple * multiple)
    return nearest if nearest >= 0.9 * wanted else nearest + multiple
