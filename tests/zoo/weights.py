"""Where weights are kept, and who else needs them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.zoo.specimen import IMAGE, Specimen, builder, paired


def specimens() -> Iterator[Specimen]:
    """One of each."""
    one, two = {"Conv": 1}, {"Conv": 2}
    yield Specimen("weights as inputs, IR 3", paired(builder(opset=8, ir_version=3)), one)
    fed = "its weights are not constant"
    yield Specimen("weights as inputs, IR 9", _fed(), two, says=fed)
    yield Specimen(
        "weights as inputs, frozen", _fed(), one, options={"freeze_initializers": True}, changes=["inputs changed"]
    )
    yield Specimen("weights in Constant nodes", _at_home("node"), one)
    yield Specimen("weights through Identity", _moved("Identity"), one)
    yield Specimen("weights through ConstantOfShape", _filled(), one)
    yield Specimen("shared weights", _shared(), {"Conv": 1})
    yield Specimen("weights that are outputs", _as_outputs(), one)
    yield Specimen("a weight in a sparse_initializer", _sparse(), "has the sparse weight 'w'")
    for name, number in (("NaN", np.nan), ("Inf", np.inf)):
        yield Specimen(f"{name} weights", _with(number), two, says="not finite")
    yield Specimen("an omitted bias", _omitted(), one)
    yield Specimen("zero taps around the centre", _centred(), one)


def _fed() -> onnx.ModelProto:
    g = builder()
    inner = g.node("Conv", "x", g.constant(g.random(4, 3, 3, 3), home="input"))
    return g.model({"x": IMAGE}, [g.node("Conv", inner, g.constant(g.random(2, 4, 1, 1), home="input"))])


def _centred() -> onnx.ModelProto:
    """Two padded kernels, of the second of which one tap is left."""
    g = builder()
    weight = np.zeros((3, 4, 3, 3), np.float32)
    weight[:, :, 1, 1] = g.random(3, 4)
    inner = g.conv("x", (3, 4), (3, 3), pads=1)
    return g.model({"x": IMAGE}, [g.node("Add", g.node("Conv", inner, g.constant(weight), pads=[1] * 4), "x")])


def _at_home(home: str) -> onnx.ModelProto:
    g = builder()
    inner = g.node("Conv", "x", g.constant(g.random(4, 3, 3, 3), home=home))
    return g.model({"x": IMAGE}, [g.node("Conv", inner, g.constant(g.random(2, 4, 1, 1), home=home))])


def _moved(op_type: str) -> onnx.ModelProto:
    g = builder()
    inner = g.node("Conv", "x", g.node(op_type, g.constant(g.random(4, 3, 3, 3))))
    return g.model({"x": IMAGE}, [g.node("Conv", inner, g.node(op_type, g.constant(g.random(2, 4, 1, 1))))])


def _filled() -> onnx.ModelProto:
    g = builder()
    fill = numpy_helper.from_array(np.array([0.25], np.float32))
    weight = g.node("ConstantOfShape", g.constant(np.array([4, 3, 3, 3])), value=fill)
    return g.model({"x": IMAGE}, [g.conv(g.node("Conv", "x", weight), (4, 2), (1, 1))])


def _shared() -> onnx.ModelProto:
    """One 1x1 convolution three times over."""
    g = builder()
    weight, x = g.constant(g.random(3, 3, 1, 1)), "x"
    for _ in range(3):
        x = g.node("Conv", x, weight)
    return g.model({"x": IMAGE}, [x])


def _as_outputs() -> onnx.ModelProto:
    """The caller gets the weight of the first convolution, and the value between the two is nobody else's."""
    g = builder()
    weight = g.constant(g.random(4, 3, 3, 3), name="w")
    y = g.conv(g.node("Conv", "x", weight), (4, 2), (1, 1))
    model = g.model({"x": IMAGE}, [y])
    model.graph.output.append(helper.make_tensor_value_info(weight, TensorProto.FLOAT, [4, 3, 3, 3]))
    return model


def _sparse() -> onnx.ModelProto:
    model = paired(builder())
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return model


def _with(number: float) -> onnx.ModelProto:
    g = builder()
    weight = g.random(4, 3, 3, 3)
    weight[0, 0, 0, 0] = number
    inner = g.node("Conv", "x", g.constant(weight))
    return g.model({"x": IMAGE}, [g.conv(inner, (4, 2), (1, 1))])


def _omitted() -> onnx.ModelProto:
    g = builder()
    inner = g.node("Conv", "x", g.constant(g.random(4, 3, 3, 3)), "")
    return g.model({"x": IMAGE}, [g.node("Conv", inner, g.constant(g.random(2, 4, 1, 1)), "")])
