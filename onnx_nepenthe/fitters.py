"""What adds up the statistics of a substitute, by its kind."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.depthwise import DepthwiseFitter
from onnx_nepenthe.fit import PLAIN, Array, ConvFitter, DenseFitter, Fitter, Terms
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.kinds import KINDS
from onnx_nepenthe.lines import IdentityFitter, LineFitter
from onnx_nepenthe.refitting import site_fitter
from onnx_nepenthe.slimming import SlimFitter
from onnx_nepenthe.substitutes import Substitute


def fitter(substitute: Substitute, view: GraphView, rng: np.random.Generator, terms: Terms = PLAIN) -> Fitter:
    """What adds up the statistics of one substitute.

    Args:
        substitute: which one.
        view: the graph it is for.
        rng: picks the rows that are used.
        terms: how, where the kind leaves a choice.

    Raises:
        ValueError: a number of channels is not known.
    """
    if substitute.site is not None:
        return site_fitter(substitute.site, rng, terms)
    if substitute.offer is not None:
        return KINDS[substitute.kind].fitter(substitute.offer, rng)
    x, y = view.tensors[substitute.source].shape, view.tensors[substitute.target].shape
    second = None if substitute.slim is None else view.op_of(substitute.target)
    if substitute.slim is not None and second is not None:
        return SlimFitter(second, substitute.slim.keep, rng, terms)
    axis = 1 if substitute.kind.startswith("conv") else substitute.axis
    inputs, outputs = (x or ())[axis], (y or ())[axis]
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        raise ValueError(f"the channels of {substitute.source} or {substitute.target} are not known")
    match substitute.kind:
        case "identity":
            return IdentityFitter(inputs, axis)
        case "line" | "scale":
            return LineFitter(inputs, axis)
        case "dense":
            return DenseFitter(inputs, outputs, axis, rng, terms)
        case kind if kind.startswith("depthwise"):
            taps = int(kind.removeprefix("depthwise"))
            return DepthwiseFitter(inputs, (taps,) * len(substitute.strides), substitute.strides, rng)
        case _:
            taps = int(substitute.kind.removeprefix("conv"))
            kernel = (taps,) * len(substitute.strides)
            return ConvFitter(inputs, outputs, kernel, substitute.strides, rng, terms)


def feed(one: Fitter, x: Array, y: Array, beside: Array | None) -> None:
    """Give a fitter one batch.

    Args:
        one: the fitter.
        x: what the fit takes.
        y: what is wanted of it and `beside` together.
        beside: what is added to it.
    """
    match one:
        case ConvFitter() | DenseFitter() | SlimFitter():
            one.add(x, y, beside)
        case _:
            one.add(x, y if beside is None else y - beside)
