"""Run a network on an example: shapes, results, and whether two networks give the same."""

from __future__ import annotations

import inspect

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils import _pytree as pytree

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.prune.modes import evaluating

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""One batch of inputs: a tensor, or one for each argument of forward."""
DIFFERS = (
    "the network cannot be followed: its calls, one after the other, compute something else (is a value overwritten in "
    "place that is read again through a view?); mark that part as a leaf (--leaf NAME)"
)
AGREES = 1e-4
"""Largest difference between a network and its trace, as a share of the largest output."""


def placed(inputs: Inputs, module: nn.Module) -> tuple[torch.Tensor, ...]:
    """The inputs as a tuple, where the module's parameters are."""
    parameter = next(module.parameters(), None)
    several = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    return several if parameter is None else tuple(value.to(parameter.device) for value in several)


@torch.no_grad()
def evaluate(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The tensors that the network gives in evaluation mode, in a flat list; the mode stays as it is.

    Raises:
        UnsupportedError: it cannot be run on these inputs.
    """
    try:
        with evaluating(module), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            result = module(*(value.clone() for value in inputs))
    # A network may fail in any way on inputs that are not for it.
    except Exception as error:
        raise cannot_run(inputs, error, other_type(module, inputs)) from error
    return [value for value in pytree.tree_leaves(result) if isinstance(value, torch.Tensor)]


@torch.no_grad()
def spread_shapes(traced: fx.GraphModule, inputs: tuple[torch.Tensor, ...]) -> None:
    """Note in every node the shape and type of its value in evaluation mode.

    Raises:
        UnsupportedError: the trace cannot be run, though the network can.
    """
    try:
        with evaluating(traced):
            ShapeProp(traced).propagate(*(value.clone() for value in inputs))
    # What a trace does where it differs from its network is anyone's guess.
    except Exception as error:
        raise UnsupportedError(DIFFERS) from error


def check_agrees(expected: list[torch.Tensor], found: list[torch.Tensor]) -> None:
    """Whether a trace gives what the network gives.

    Raises:
        UnsupportedError: it does not.
    """
    alike = len(expected) == len(found) and all(
        a.shape == b.shape and bool(torch.allclose(a, b, AGREES, AGREES * _scale(a), equal_nan=True))
        for a, b in zip(expected, found, strict=True)
    )
    if not alike:
        raise UnsupportedError(DIFFERS)


def cannot_run(inputs: tuple[torch.Tensor, ...], error: Exception, hint: str = "") -> UnsupportedError:
    """The error for a network that fails on the example; `hint` says what may be behind it."""
    shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
    reason = str(error).split("\n")[0] or type(error).__name__
    more = f"; {hint}" if hint else ""
    return UnsupportedError(f"the network cannot be run on the example of shape {shapes}: {reason}{more}")


def other_type(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> str:
    """Which input is of another type than the weights, and what to do about it; "" when none is."""
    weight = next((parameter for parameter in module.parameters() if parameter.is_floating_point()), None)
    named = list(inspect.signature(module.forward).parameters)
    for at, value in enumerate(inputs):
        if weight is None or value.dtype == weight.dtype:
            continue
        wanted, given = (str(kind).removeprefix("torch.") for kind in (weight.dtype, value.dtype))
        scaled = "" if value.is_floating_point() else ", and scale them (pixels: x / 255)"
        name = repr(named[at]) if at < len(named) else str(at + 1)
        return f"input {name} is {given} and the weights are {wanted}: convert the data, x.to(torch.{wanted}){scaled}"
    return ""


def _scale(values: torch.Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
