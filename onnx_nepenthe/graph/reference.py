"""Models in plain numpy (`onnx.reference`): for those that no runtime here can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.errors import UnreadableError, UnsupportedError
from onnx_nepenthe.graph.mended import MENDED
from onnx_nepenthe.opview import Tensor

Array = npt.NDArray[Any]
_QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_COARSEST_FIRST = ("bfloat16", "float16", "float", "double")


class ReferenceRunner:
    """Runs a model with `onnx.reference`: slow, and with every type ONNX has.

    Attributes:
        inputs, outputs: what a caller feeds and gets.
        provider: "onnx.reference".
    """

    provider = "onnx.reference"

    def __init__(self, model: ir.Model | str | Path) -> None:
        """Prepare `model`.

        Raises:
            UnreadableError: the path holds no ONNX model.
            UnsupportedError: it has an operator that onnx.reference does not know.
        """
        found = loaded(model)
        graph = found.graph
        self._name = graph.name or "the model"
        self.inputs = tuple(_tensor(v) for v in graph.inputs if v.name not in graph.initializers)
        self.outputs = tuple(_tensor(v) for v in graph.outputs)
        try:
            self._native = ReferenceEvaluator(ir.to_proto(found), new_ops=[*MENDED])
        except Exception as error:
            raise UnsupportedError(f"onnx.reference cannot run {self._name}: {_one_line(error)}") from error

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """The named outputs, all of them by default.

        Raises:
            UnsupportedError: onnx.reference cannot run it on these feeds.
        """
        names = list(outputs) if outputs is not None else [o.name for o in self.outputs]
        try:
            with np.errstate(all="ignore"):
                results: list[Array] = [*self._native.run(names, dict(feeds))]
        except Exception as error:
            raise UnsupportedError(f"onnx.reference cannot run {self._name}: {_one_line(error)}") from error
        return results


def run_reference(model: ir.Model | str | Path, feeds: Mapping[str, Array]) -> list[Array]:
    """All outputs of `model` for `feeds`, computed by `onnx.reference`.

    Raises:
        UnreadableError: the path holds no ONNX model.
        UnsupportedError: onnx.reference cannot run it.
    """
    return ReferenceRunner(model).run(feeds)


def identity_model() -> ir.Model:
    """A model that hands a float tensor of shape (1,) from `x` to `y`: the cost of a call alone."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    y = ir.Value(name="y", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    node = ir.node("Identity", [x], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], opset_imports={"": 13}, name="identity")
    return ir.Model(graph, ir_version=8)


def chain_model(length: int) -> ir.Model:
    """`length` operators one after the other on a float tensor of shape (1,): the cost of dispatching them alone."""
    values = [
        ir.Value(name=f"v{at}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1])) for at in range(length + 1)
    ]
    values[0].name = "x"
    nodes = [ir.node("Neg", [values[at]], outputs=[values[at + 1]]) for at in range(length)]
    graph = ir.Graph(values[:1], values[-1:], nodes=nodes, opset_imports={"": 13}, name="chain")
    return ir.Model(graph, ir_version=8)


def coarsest_precision(model: ir.Model | str | Path) -> str:
    """The least precise type the model computes in: "int8" when it quantises, else a float type.

    A model may take and give float and still compute in float16 between two Casts, so that the types of its
    outputs do not say how exact they are.

    Raises:
        UnreadableError: the path holds no ONNX model.
    """
    found = loaded(model)
    if any(node.op_type in _QUANTISERS for graph in found.graphs() for node in graph):
        return "int8"
    types = set(_float_types(found))
    return next((name for name in _COARSEST_FIRST if name in types), "float")


def _float_types(model: ir.Model) -> Iterator[str]:
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
            if value.dtype is not None:
                yield value.dtype.name.lower()
        for node in graph:
            if node.op_type == "Cast" and "to" in node.attributes:
                yield ir.DataType(node.attributes["to"].as_int()).name.lower()


def loaded(model: ir.Model | str | Path) -> ir.Model:
    """The model itself, or the one in the file.

    Raises:
        UnreadableError: the path holds no ONNX model.
    """
    if isinstance(model, ir.Model):
        return model
    try:
        return ir.load(model)
    except Exception as error:
        raise UnreadableError(f"{model} cannot be read as an ONNX model: {_one_line(error)}") from error


def _tensor(value: ir.Value) -> Tensor:
    shape = None if value.shape is None else tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return Tensor(value.name or "", shape, "" if value.dtype is None else value.dtype.name.lower())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
