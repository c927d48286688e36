"""Layers that do not fit their input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph.fitting import check_fit
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Tensor


def view(op: OpView) -> GraphView:
    tensors = {operand.name: operand for operand in op.inputs if operand is not None}
    return GraphView((op,), tensors, ("x",), ("y",), {}, frozenset(), {"": 17}, 9)


def layer(op_type: str, x: Any, *weights: Any, **attributes: Any) -> GraphView:
    operands = [Tensor(f"w{at}", constant=np.zeros(shape)) for at, shape in enumerate(weights)]
    return view(OpView(op_type, 17, "", attributes, (Tensor("x", x), *operands), name="layer"))


SOUND = [
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3), (4,)], {}),
    ("Conv", ("N", None, "H", "W"), [(4, 1, 3, 3)], {"group": 2, "pads": [1] * 4, "strides": [1, 2]}),
    ("Conv", None, [(4, 1, 3, 3)], {}),
    ("Conv", (1, 0, 4), [(0, 0, 3), (0,)], {}),
    ("ConvTranspose", (1, 4, 8), [(4, 3, 2), (6,)], {"group": 2, "output_padding": [1]}),
    ("BatchNormalization", (1, 3, 8), [(3,)] * 4, {}),
    ("BatchNormalization", ("N",), [(1,)] * 4, {}),
    ("Gemm", (1, 3), [(4, 4)], {}),
]
FAULTS = [
    ("Conv", (1, 3, 8, 8), [(4, 2, 3, 3)], {}, "has weights for 2 channels and an input of 3"),
    ("Conv", (1, 4, 8, 8), [(4, 3, 3, 3)], {"group": 2}, "has weights for 6 channels and an input of 4"),
    ("Conv", (1, 3, 8, 8), [(4,)], {}, "has a weight of shape 4 for an input of 1x3x8x8"),
    ("Conv", None, [(4, 2)], {}, "has a weight of shape 4x2 for an input of rank unknown"),
    ("Conv", (1, 3, 8), [(4, 3, 3, 3)], {}, "has a weight of shape 4x3x3x3 for an input of 1x3x8"),
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3), (3,)], {}, "has a bias of shape 3 for 4 channels"),
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3), ()], {}, "has a bias of shape () for 4 channels"),
    ("Conv", (1, 3, 8, 8), [(4, 1, 3, 3)], {"group": 3}, "has 4 channels for 3 groups"),
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3)], {"group": 0}, "has 0 groups"),
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3)], {"pads": [1, 1]}, "has 2 pads for 2 spatial axes"),
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3)], {"strides": [0, 1]}, "has strides [0, 1], which must be positive"),
    ("Conv", (1, 3, 8, 8), [(4, 3, 3, 3)], {"kernel_shape": [3, 5]}, "3x3x3 for a kernel of [3, 5]"),
    ("ConvTranspose", (1, 3, 8), [(4, 3, 2)], {}, "has weights for 4 channels and an input of 3"),
    ("ConvTranspose", (1, 4, 8), [(4, 3, 2), (3,)], {"group": 2}, "has a bias of shape 3 for 6 channels"),
    ("BatchNormalization", (1, 3, 8), [(3,), (3,), (4,), (3,)], {}, "has numbers of shape 4 for 3 channels"),
    ("BatchNormalization", None, [(3, 1), (3,), (3,), (3,)], {}, "has numbers of shape 3x1 for unknown channels"),
]


@pytest.mark.parametrize(("op_type", "x", "weights", "attributes"), SOUND)
def test_layers_that_fit(op_type: str, x: Any, weights: Any, attributes: Any) -> None:
    check_fit(layer(op_type, x, *weights, **attributes))


@pytest.mark.parametrize(("op_type", "x", "weights", "attributes", "expected"), FAULTS)
def test_layers_that_do_not(op_type: str, x: Any, weights: Any, attributes: Any, expected: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        check_fit(layer(op_type, x, *weights, **attributes))
    assert str(caught.value).startswith(f"{op_type} 'layer' ")
    assert expected in str(caught.value)


def test_shapes_larger_than_any_memory() -> None:
    with pytest.raises(UnreadableError, match="'x' is of shape 1099511627776x4096, larger than any memory"):
        check_fit(layer("Relu", (2**40, "N", 2**12)))
    check_fit(layer("Relu", (2**40, 0)))
    check_fit(layer("Relu", None))


def test_weights_that_are_computed_and_other_domains_are_left_alone() -> None:
    check_fit(view(OpView("Conv", 17, "", {}, (Tensor("x", (1, 3, 8)), Tensor("w", None)))))
    check_fit(view(OpView("Conv", 1, "own", {}, (Tensor("x", (1, 3, 8)), Tensor("w", (9,))))))
