"""A form in a few words, for people."""

from __future__ import annotations

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, PerChannel, SpatialMean, is_constant, is_identity
from onnx_nepenthe.affine.transposed import TransposedConv


def describe(form: Form) -> str:
    """What the form's core is: "Conv 3x3 16→32, stride 2", "Dense 64→10", "constant" …

    >>> from onnx_nepenthe.affine.forms import source_form
    >>> describe(source_form(("N", 3)))
    'nothing'
    """
    if is_constant(form.core):
        return "constant"
    return _core(form.core)


def _core(core: AffineMap) -> str:
    match core:
        case PerChannel():
            return "nothing" if is_identity(core) else "scale and shift"
        case Dense(weight=weight):
            return f"Dense {weight.shape[1]}→{weight.shape[0]}"
        case SpatialMean(then=then):
            return "mean over space" if is_identity(then) else f"mean over space, then {_core(then)}"
        case Conv():
            return ", ".join(_conv(core))
        case TransposedConv():
            kernel = "x".join(map(str, core.kernel))
            return f"ConvTranspose {kernel} {core.in_channels}→{len(core.bias)}, stride {_few(core.strides)}"


def _conv(m: Conv) -> list[str]:
    parts = [f"Conv {'x'.join(map(str, m.kernel))} {m.in_channels}→{m.weight.shape[0]}"]
    if any(stride > 1 for stride in m.strides):
        parts.append(f"stride {_few(m.strides)}")
    if m.groups > 1:
        parts.append("depthwise" if m.groups == m.in_channels else f"{m.groups} groups")
    if any(dilation > 1 for dilation in m.dilations):
        parts.append(f"dilation {_few(m.dilations)}")
    if m.border is not None:
        parts.append("exact border")
    return parts


def _few(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "x".join(map(str, numbers))
