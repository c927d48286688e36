"""What may be done to a model before anything else: weights fixed, local functions inlined."""

from __future__ import annotations

import onnx
import onnx.inliner
import onnx_ir as ir

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.edit import freeze_initializers
from onnx_nepenthe.graph.serial import in_memory, self_contained_nodes


def prepared(model: ir.Model, *, freeze: bool, inline: bool) -> ir.Model:
    """`model` (not changed) with its weights fixed, and its functions inlined.

    Raises:
        UnsupportedError: its functions cannot be inlined.
    """
    model = inline_functions(model) if inline and model.functions else model
    return freeze_initializers(model) if freeze else model


def inline_functions(model: ir.Model) -> ir.Model:
    """A copy in which calls of local functions are their operators, and the functions are gone.

    Weights are kept out of the way and stay where they are. Functions that are called like an operator of ONNX stay
    and are not called, as runtimes take the operator.

    Raises:
        UnsupportedError: onnx cannot inline them.

    Source: https://onnx.ai/onnx/api/inliner.html.
    """
    bare = self_contained_nodes(model)
    for body in bare.graph.subgraphs():
        for value in body.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = in_memory(value.const_value)
    weights = dict(bare.graph.initializers)
    fed = {value.name for value in bare.graph.inputs}
    bare.graph.initializers.clear()
    bare.graph.inputs.extend(value for name, value in weights.items() if name not in fed)
    proto = ir.to_proto(bare)
    standard = [function for function in proto.functions if _is_operator(function)]
    for function in standard:
        proto.functions.remove(function)
    try:
        proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
    except Exception as error:  # the inliner raises several types
        raise UnsupportedError(f"its functions cannot be inlined: {' '.join(str(error).split())}") from error
    proto.functions.extend(standard)
    inlined = ir.from_proto(proto)
    for value in list(inlined.graph.inputs):
        if value.name in weights:
            value.const_value = weights[value.name].const_value
            inlined.graph.register_initializer(value)
    inlined.graph.inputs[:] = [value for value in inlined.graph.inputs if value.name in fed]
    return inlined


def _is_operator(function: onnx.FunctionProto) -> bool:
    return bool(onnx.defs.has(function.name, function.domain))
