"""Modules of torch as affine maps, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, FloatArray, PerChannel, SpatialMean, identity, per_channel
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.prune.chains import DROPOUTS, PlainConv, padding_of, plain_conv
from onnx_nepenthe.prune.flow import NORMS
from onnx_nepenthe.prune.rectifier import Rectifier

_CONVS: Mapping[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Line(nn.Module):
    """y = scale · z + offset along one axis, both (channels,), or (1,) for every entry alike."""

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, axis: int | None, scale: torch.Tensor, offset: torch.Tensor) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """y, of the shape of z."""
        behind = 0 if self.axis is None else z.dim() - 1 - self.axis
        shape = (-1, *(1,) * behind)
        return z * self.scale.view(shape) + self.offset.view(shape)


def map_of(module: nn.Module, rank: int) -> AffineMap | None:
    """What the module computes in evaluation mode, or None when that is no affine map.

    Args:
        module: of a network that has been traced.
        rank: number of axes of its input, the batch included.
    """
    conv = plain_conv(module)
    if conv is not None:
        return _conv(conv) if rank == conv.weight.dim() else None
    if isinstance(module, DROPOUTS):
        return identity()
    if isinstance(module, nn.Linear):
        weight = _numbers(module.weight)
        return Dense(rank - 1, weight, _bias(module.bias, len(weight)))
    if isinstance(module, Rectifier) and module.mode == "line":
        return per_channel(module.site.axis, *module.line())
    if isinstance(module, NORMS) and module.running_mean is not None and module.running_var is not None:
        mean, variance = _numbers(module.running_mean), _numbers(module.running_var)
        scale = 1 / np.sqrt(variance + module.eps)
        scale = scale if module.weight is None else scale * _numbers(module.weight)
        return PerChannel(1, scale, _bias(module.bias, len(mean)) - mean * scale)
    return None


def module_refusal(m: AffineMap, rank: int) -> Refused | None:
    """Why torch has no single module for the map of an input with `rank` axes; None when it has."""
    match m:
        case Conv() if m.border is not None:
            return Refused("a bias would differ near the edges", "move the padding and fine-tune before merging")
        case Conv() if m.pads_begin != m.pads_end or m.spatial not in _CONVS:
            return Refused("torch's convolutions pad both sides alike, along one to three axes")
        case Dense() if m.axis != rank - 1:
            return Refused("torch's dense layers work on the last axis")
        case TransposedConv():
            return Refused("a transposed convolution with a stride is left as it is")
        case SpatialMean():
            return Refused("a mean over space with what follows is not one module")
    return None


def module_of(m: AffineMap, like: torch.Tensor) -> nn.Module:
    """A module that computes the map, for which there is no `module_refusal`; `like` gives dtype and device."""
    # A module that is made without values draws no random ones.
    blank: dict[str, Any] = {"dtype": like.dtype, "device": "meta"}
    match m:
        case PerChannel(axis, scale, offset):
            return Line(axis, torch.as_tensor(scale).to(like), torch.as_tensor(offset).to(like))
        case Dense(weight=weight, bias=bias):
            return _filled(nn.Linear(weight.shape[1], weight.shape[0], **blank), weight, bias, like)
        case Conv():
            sizes = m.in_channels, len(m.bias), m.kernel, m.strides, m.pads_begin, m.dilations, m.groups
            return _filled(_CONVS[m.spatial](*sizes, **blank), m.weight, m.bias, like)
    raise AssertionError("refused before")


def multiply_adds(m: AffineMap, source: tuple[int, ...]) -> int:
    """Multiply-adds of the map for a source of this shape; none for a line per channel."""
    match m:
        case Dense():
            return math.prod(source) * len(m.bias)
        case Conv():
            sizes = zip(source[2:], m.tails, m.strides, strict=True)
            positions = math.prod((n - 1 + tail) // stride + 1 for n, tail, stride in sizes)
            return source[0] * positions * m.weight.size
    return 0


def _conv(conv: PlainConv) -> Conv:
    weight, pads = _numbers(conv.weight), padding_of(conv)
    strides, dilations = tuple(conv.stride), tuple(conv.dilation)
    return Conv(weight, _bias(conv.bias, len(weight)), strides, dilations, pads, pads, conv.groups)


def _numbers(tensor: torch.Tensor) -> FloatArray:
    numbers: FloatArray = tensor.detach().cpu().double().numpy().copy()
    return numbers


def _bias(bias: torch.Tensor | None, channels: int) -> FloatArray:
    return np.zeros(channels) if bias is None else _numbers(bias)


@torch.no_grad()
def _filled(module: nn.Module, weight: FloatArray, bias: FloatArray, like: torch.Tensor) -> nn.Module:
    module.to_empty(device=like.device)
    for parameter, values in ((module.weight, weight), (module.bias, bias)):
        assert isinstance(parameter, nn.Parameter)
        parameter.copy_(torch.as_tensor(values))
    return module
