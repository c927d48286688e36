"""Runs of affine calls in a traced network."""

from __future__ import annotations

from collections import Counter

from torch import fx, nn

from onnx_nepenthe.prune.flow import NORMS, shape_of
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.weights import CONVS

PlainConv = nn.Conv1d | nn.Conv2d | nn.Conv3d
DROPOUTS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Modules that give back what they take in evaluation mode."""


def called_once(traced: fx.GraphModule) -> dict[fx.Node, nn.Module]:
    """Calls of a module that no other call shares, in the order of the graph."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    times = Counter(str(node.target) for node in calls)
    return {node: traced.get_submodule(str(node.target)) for node in calls if times[str(node.target)] == 1}


def operand_of(node: fx.Node) -> fx.Node | None:
    """The one value that a call takes; None when it takes more or other things."""
    if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
        return None
    return node.args[0]


def keeps_channels(module: nn.Module) -> bool:
    """Whether it is a line per channel in evaluation mode: a BatchNorm, a linear rectifier, or nothing at all."""
    if isinstance(module, Rectifier):
        return module.mode == "line"
    return isinstance(module, DROPOUTS) or (isinstance(module, NORMS) and module.running_mean is not None)


def plain_conv(module: nn.Module | None) -> PlainConv | None:
    """The module, when it is a convolution that pads with zeros, as many in front as behind."""
    if not isinstance(module, CONVS) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    return module


def padding_of(conv: PlainConv) -> tuple[int, ...]:
    """Zeros on either side, per spatial axis."""
    assert not isinstance(conv.padding, str)
    return tuple(int(number) for number in conv.padding)


def rank_of(node: fx.Node) -> int | None:
    """Number of axes of a value; None when it is not one tensor."""
    shape = shape_of(node)
    return None if shape is None else len(shape)


def before(node: fx.Node, alone: dict[fx.Node, nn.Module]) -> tuple[str, PlainConv] | None:
    """The convolution whose result reaches `node` through nothing but lines per channel, and nobody else."""
    value = operand_of(node)
    while value is not None and len(value.users) == 1 and value in alone:
        conv = plain_conv(alone[value])
        if conv is not None:
            return str(value.target), conv
        value = operand_of(value) if keeps_channels(alone[value]) else None
    return None
