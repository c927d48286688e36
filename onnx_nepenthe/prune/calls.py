"""How torch writes each activation, and what ONNX calls it: one definition of activations for both halves.

A call of an activation becomes the module that computes it, whatever the spelling (module, function, tensor method),
and the module becomes an `Activation` through the registry of the ONNX half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from onnx_nepenthe.activations import ACTIVATIONS, PATTERNS, Activation
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.registry import Registry

Z = "z"
"""Name of the pre-activation in the operators built here."""


class Clamp(nn.Module):
    """`torch.clamp` as a module: nothing below `min` or above `max`; None is no bound."""

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        super().__init__()
        self.min, self.max = min, max

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The bounded z."""
        return torch.clamp(z, self.min, self.max)


@dataclass(frozen=True, eq=False)
class Call:
    """One activation as torch writes it.

    Attributes:
        op: as ONNX calls it.
        module: the class of the module that computes it.
        view: (module, shape of z) → the operator as ONNX has it, z being its first non-constant operand.
        functions: each functional form and the names of what it takes after z.
        methods: the same for methods of a tensor.
    """

    op: str
    module: type[nn.Module]
    view: Callable[[Any, tuple[int, ...]], OpView]
    functions: Mapping[Any, tuple[str, ...]]
    methods: Mapping[str, tuple[str, ...]]


CALLS: Registry[Call] = Registry("call")
"""Name of the module's class → how torch writes the activation."""


def call_of_module(module: nn.Module) -> Call | None:
    """The entry of exactly this class: a subclass may compute something else."""
    return next((CALLS[name] for name in CALLS if CALLS[name].module is type(module)), None)


def call_of_function(function: object) -> tuple[Call, tuple[str, ...]] | None:
    """The entry that has this function, and the names of the function's arguments after z."""
    for name in CALLS:
        for known, arguments in CALLS[name].functions.items():
            if known is function:
                return CALLS[name], arguments
    return None


def call_of_method(method: str) -> tuple[Call, tuple[str, ...]] | None:
    """The entry that has this tensor method, and the names of the method's arguments."""
    for name in CALLS:
        if method in CALLS[name].methods:
            return CALLS[name], CALLS[name].methods[method]
    return None


def module_from(call: Call, arguments: Mapping[str, Any]) -> nn.Module:
    """The module that computes a functional call; never in place.

    Args:
        call: from `call_of_function` or `call_of_method`.
        arguments: by name, without z; a PReLU's weight is shared, not copied.
    """
    given = {name: value for name, value in arguments.items() if name != "inplace"}
    if call.module is nn.PReLU:
        weight = given["weight"]
        module = nn.PReLU(weight.numel(), device=weight.device, dtype=weight.dtype)
        module.weight = weight
        return module
    return call.module(**given)


def activation_of(module: nn.Module, shape: tuple[int, ...]) -> Activation:
    """What the module computes now (a PReLU's slopes change while it is trained).

    Args:
        module: of a class in `CALLS`.
        shape: of z.

    Raises:
        UnsupportedError: its parameters leave no knots and lines.
    """
    call = call_of_module(module)
    if call is None:
        raise UnsupportedError(f"{type(module).__name__} is not an activation with knots and lines")
    view = call.view(module, shape)
    maker = ACTIVATIONS.get(view.op_type)
    found = maker(view) if maker is not None else _matched(view)
    if not isinstance(found, Activation):
        reason = getattr(found, "reason", "its parameters give no knots and lines")
        raise UnsupportedError(f"{type(module).__name__}: {reason}")
    return found


def _matched(view: OpView) -> Activation | None:
    """An activation that ONNX writes as several operators."""
    matches = (PATTERNS[name](view) for name in PATTERNS)
    return next((match.activation for match in matches if match is not None), None)


def _z(shape: tuple[int, ...]) -> Tensor:
    return Tensor(Z, shape)


def _number(value: float | None) -> Tensor | None:
    return None if value is None else Tensor("", (), constant=np.asarray(value, np.float64))


def _made(op_type: str, *operands: Tensor | None, like: tuple[int, ...]) -> Tensor:
    view = OpView(op_type, inputs=operands, outputs=(op_type,), output_shapes=(like,))
    return Tensor(op_type, like, producer=view)


def _plain(op_type: str, **attributes: str) -> Callable[[Any, tuple[int, ...]], OpView]:
    """An operator with attributes: name in ONNX → name in the module."""

    def view(module: nn.Module, shape: tuple[int, ...]) -> OpView:
        values = {onnx: getattr(module, own) for onnx, own in attributes.items()}
        return OpView(op_type, attributes=values, inputs=(_z(shape),), output_shapes=(shape,))

    return view


def _clip(low: str, high: str) -> Callable[[Any, tuple[int, ...]], OpView]:
    def view(module: nn.Module, shape: tuple[int, ...]) -> OpView:
        bounds = _number(getattr(module, low)), _number(getattr(module, high))
        return OpView("Clip", inputs=(_z(shape), *bounds), output_shapes=(shape,))

    return view


def _prelu(module: nn.PReLU, shape: tuple[int, ...]) -> OpView:
    """Torch's slopes run along axis 1; ONNX broadcasts them from the right."""
    weight = module.weight.detach().cpu().double().numpy().reshape(-1, *(1,) * max(0, len(shape) - 2))
    return OpView("PRelu", inputs=(_z(shape), Tensor("slope", weight.shape, constant=weight)), output_shapes=(shape,))


def _hard_sigmoid(module: nn.Hardsigmoid, shape: tuple[int, ...]) -> OpView:
    return OpView("HardSigmoid", attributes={"alpha": 1 / 6}, inputs=(_z(shape),), output_shapes=(shape,))


def _selu(module: nn.SELU, shape: tuple[int, ...]) -> OpView:
    """Torch's constants have more digits than ONNX's defaults."""
    constants = {"alpha": 1.6732632423543772848170429916717, "gamma": 1.0507009873554804934193349852946}
    return OpView("Selu", attributes=constants, inputs=(_z(shape),), output_shapes=(shape,))


def _softplus(module: nn.Softplus, shape: tuple[int, ...]) -> OpView:
    """`Where(beta z > t, z, Softplus(beta z) / beta)`: above t / beta torch gives exactly z."""
    z, beta = _z(shape), float(module.beta)
    scaled = z if beta == 1 else _made("Mul", z, _number(beta), like=shape)
    curve = _made("Softplus", scaled, like=shape)
    curve = curve if beta == 1 else _made("Div", curve, _number(beta), like=shape)
    above = _made("Greater", scaled, _number(float(module.threshold)), like=shape)
    return OpView("Where", inputs=(above, z, curve), output_shapes=(shape,))


def _threshold(module: nn.Threshold, shape: tuple[int, ...]) -> OpView:
    """`Where(z > t, z, value)`."""
    z = _z(shape)
    above = _made("Greater", z, _number(float(module.threshold)), like=shape)
    return OpView("Where", inputs=(above, z, _number(float(module.value))), output_shapes=(shape,))


def _register(
    op: str,
    module: type[nn.Module],
    view: Callable[[Any, tuple[int, ...]], OpView],
    functions: Mapping[Any, tuple[str, ...]],
    methods: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    CALLS.register(module.__name__)(Call(op, module, view, functions, methods or {}))


_IN = ("inplace",)
_BOUNDS = ("min_val", "max_val", "inplace")
_CLAMPS = {"clamp": ("min", "max"), "clip": ("min", "max"), "clamp_min": ("min",), "clamp_max": ("max",)}
_CLAMPS |= {f"{name}_": arguments for name, arguments in _CLAMPS.items()}
_SLOPE = ("negative_slope", "inplace")
_WEIGHT = ("weight",)
_ALPHA = ("alpha", "inplace")
_CUT = ("threshold", "value", "inplace")
_LEAKY = _plain("LeakyRelu", alpha="negative_slope")
_CELU = _plain("Celu", alpha="alpha")

_register("Relu", nn.ReLU, _plain("Relu"), {F.relu: _IN, torch.relu: (), torch.relu_: ()}, {"relu": (), "relu_": ()})
_register("Clip", nn.ReLU6, _clip("min_val", "max_val"), {F.relu6: _IN})
_register("Clip", nn.Hardtanh, _clip("min_val", "max_val"), {F.hardtanh: _BOUNDS, F.hardtanh_: _BOUNDS[:2]})
_register("Clip", Clamp, _clip("min", "max"), {getattr(torch, name): names for name, names in _CLAMPS.items()}, _CLAMPS)
_register("LeakyRelu", nn.LeakyReLU, _LEAKY, {F.leaky_relu: _SLOPE, F.leaky_relu_: _SLOPE[:1]})
_register("PRelu", nn.PReLU, _prelu, {F.prelu: _WEIGHT, torch.prelu: _WEIGHT}, {"prelu": _WEIGHT})
_register("Gelu", nn.GELU, _plain("Gelu", approximate="approximate"), {F.gelu: ("approximate",)})
_register("Silu", nn.SiLU, _plain("Swish"), {F.silu: _IN})
_register("HardSwish", nn.Hardswish, _plain("HardSwish"), {F.hardswish: _IN})
_register("HardSigmoid", nn.Hardsigmoid, _hard_sigmoid, {F.hardsigmoid: _IN})
_register("Elu", nn.ELU, _plain("Elu", alpha="alpha"), {F.elu: _ALPHA, F.elu_: _ALPHA[:1]})
_register("Celu", nn.CELU, _CELU, {F.celu: _ALPHA, torch.celu: _ALPHA[:1], torch.celu_: _ALPHA[:1]})
_register("Selu", nn.SELU, _selu, {F.selu: _IN, torch.selu: (), torch.selu_: ()})
_register("Softplus", nn.Softplus, _softplus, {F.softplus: ("beta", "threshold")})
_register("Mish", nn.Mish, _plain("Mish"), {F.mish: _IN})
_register("Where", nn.Threshold, _threshold, {F.threshold: _CUT, torch.threshold: _CUT[:2], torch.threshold_: _CUT[:2]})
