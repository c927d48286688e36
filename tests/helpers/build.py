"""Small models, one operator a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

Array = npt.NDArray[Any]
Dims = Sequence[int | str]
Home = Literal["initializer", "node", "input"]
TYPES = {"float": TensorProto.FLOAT, "double": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}
NUMPY = {"float": np.float32, "double": np.float64, "float16": np.float16}


class Builder:
    """Collects operators and weights; `model` makes the model.

    Weights are drawn so that values keep their size from operator to operator.
    """

    def __init__(self, rng: np.random.Generator, *, dtype: str = "float", opset: int = 17, ir_version: int = 9) -> None:
        self.rng, self.dtype, self.opset, self.ir_version = rng, dtype, opset, ir_version
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.weight_inputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def fresh(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def random(self, *shape: int) -> Array:
        """Normal numbers, divided by the square root of the fan-in."""
        fan_in = prod(shape[1:]) if len(shape) > 1 else 1
        return np.asarray(self.rng.standard_normal(shape) / np.sqrt(max(fan_in, 1)), NUMPY[self.dtype])

    def positive(self, *shape: int) -> Array:
        """Numbers in [0.5, 2)."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape), NUMPY[self.dtype])

    def constant(self, array: npt.ArrayLike, name: str = "", home: Home = "initializer") -> str:
        """Python floats take the model's type, arrays keep theirs.

        Args:
            array: the value.
            name: of the value, made up by default.
            home: an initializer, one that is a graph input too, or a Constant node.
        """
        value = np.asarray(array, NUMPY[self.dtype]) if isinstance(array, float) else np.asarray(array)
        name = name or self.fresh("w")
        tensor = numpy_helper.from_array(value, name)
        if home == "node":
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(tensor)
        if home == "input" or self.ir_version < 4:
            self.weight_inputs.append(helper.make_tensor_value_info(name, tensor.data_type, value.shape))
        return name

    def node(self, op_type: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """An operator with one output."""
        return self.node_n(op_type, *inputs, outs=(out or self.fresh("v"),), **attributes)[0]

    def node_n(self, op_type: str, *inputs: str, outs: Sequence[str], **attributes: Any) -> tuple[str, ...]:
        """An operator with the outputs `outs`."""
        name = self.fresh(f"{op_type}_")
        self.nodes.append(helper.make_node(op_type, list(inputs), list(outs), name=name, **attributes))
        return tuple(outs)

    def conv(self, x: str, channels: tuple[int, int], kernel: Sequence[int], *, bias: bool = True, **at: Any) -> str:
        """(in, out) channels; pads as one number for all sides, or as ONNX writes them."""
        inputs, outputs = channels
        if isinstance(at.get("pads"), int):
            at["pads"] = [at["pads"]] * (2 * len(kernel))
        weight = self.constant(self.random(outputs, inputs // at.get("group", 1), *kernel))
        biases = [self.constant(self.random(outputs))] if bias else []
        return self.node("Conv", x, weight, *biases, kernel_shape=list(kernel), **at)

    def batch_norm(self, x: str, channels: int, **attributes: Any) -> str:
        shift, average = self.constant(self.random(channels)), self.constant(self.random(channels))
        scale, variance = self.constant(self.positive(channels)), self.constant(self.positive(channels))
        return self.node("BatchNormalization", x, scale, shift, average, variance, **attributes)

    def gemm(self, x: str, features: tuple[int, int], **attributes: Any) -> str:
        """(in, out) features."""
        inputs, outputs = features
        weight = self.random(outputs, inputs)
        stored = weight if attributes.get("transB") else weight.T.copy()
        return self.node("Gemm", x, self.constant(stored), self.constant(self.random(outputs)), **attributes)

    def matmul(self, x: str, features: tuple[int, int], *, bias: bool = False) -> str:
        inputs, outputs = features
        value = self.node("MatMul", x, self.constant(self.random(outputs, inputs).T.copy()))
        return self.node("Add", value, self.constant(self.random(outputs))) if bias else value

    def model(self, inputs: Mapping[str, Dims], outputs: Sequence[str]) -> onnx.ModelProto:
        """The model; types and shapes of its outputs are inferred, nothing is stated of other values.

        Args:
            inputs: name → shape.
            outputs: names.
        """
        infos = [helper.make_tensor_value_info(name, TYPES[self.dtype], dims) for name, dims in inputs.items()]
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [*infos, *self.weight_inputs],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)
        inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        known = {info.name: info for info in (*inferred.graph.output, *infos)}
        for info in model.graph.output:
            info.CopyFrom(known[info.name])
        return model
