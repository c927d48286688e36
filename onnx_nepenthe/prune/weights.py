"""Weights of convolutions and dense layers as matrices (out, in · taps), one row per channel of the result."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.regimes import FloatArray

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (*CONVS, *TRANSPOSED, nn.Linear)


def is_weighted(module: nn.Module) -> bool:
    """Whether it is a convolution or dense layer whose weight is a plain parameter (not a parametrisation)."""
    return isinstance(module, WEIGHTED) and isinstance(module._parameters.get("weight"), nn.Parameter)


def out_channels(module: nn.Module) -> int:
    """Channels or features of the result."""
    return matrix_shape(module)[0]


def weight_of(module: nn.Module) -> nn.Parameter:
    """The weight of a module for which `is_weighted` holds."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """(out, in · taps)."""
    rows, columns = as_matrix(module, weight_of(module)).shape
    return rows, columns


def as_matrix(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Values in the layout of the module's weight as (out, in · taps), detached."""
    values = values.detach()
    if isinstance(module, TRANSPOSED):
        groups = int(module.groups)
        values = values.reshape(groups, -1, *values.shape[1:]).transpose(1, 2).flatten(0, 1)
    return values.reshape(values.shape[0], -1)


def from_matrix(module: nn.Module, matrix: torch.Tensor) -> torch.Tensor:
    """A matrix (out, in · taps) in the layout of the module's weight; the inverse of `as_matrix`."""
    shape = weight_of(module).shape
    if not isinstance(module, TRANSPOSED):
        return matrix.reshape(shape)
    groups = int(module.groups)
    blocks = matrix.reshape(groups, shape[1], shape[0] // groups, *shape[2:])
    return blocks.transpose(1, 2).reshape(shape)


def matrix_of(module: nn.Module) -> FloatArray:
    """A copy of the weight, float64 (out, in · taps)."""
    matrix: FloatArray = as_matrix(module, weight_of(module)).cpu().double().numpy().copy()
    return matrix


def owners(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Name of each module → name of the first one that has the same weight, itself as a rule.

    Raises:
        UnsupportedError: two share a weight and read it as different matrices, so that one mask would not fit both.
    """
    first: dict[int, str] = {}
    for name, module in modules.items():
        own = first.setdefault(id(weight_of(module)), name)
        if _layout(module) != _layout(modules[own]):
            raise UnsupportedError(
                f"{own} and {name} share one weight and read it in different ways; give each a weight of its own"
            )
    return {name: first[id(weight_of(module))] for name, module in modules.items()}


def _layout(module: nn.Module) -> tuple[bool, object]:
    """What the matrix of a weight depends on besides the weight."""
    is_transposed = isinstance(module, TRANSPOSED)
    return is_transposed, module.groups if is_transposed else None
