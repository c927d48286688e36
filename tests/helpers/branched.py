"""A model with part of its operators in both branches of an If, and what collapsing makes of it."""

from __future__ import annotations

import random

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, shape_inference

from onnx_nepenthe.options import Options
from onnx_nepenthe.steps import Step, taken
from onnx_nepenthe.subgraphs import look_into
from tests.helpers.check_random import draw_sample, expected
from tests.helpers.compare import RuntimeRefusal, assert_close, assert_valid, run_runtime
from tests.helpers.exact import collapse_exact
from tests.helpers.random_graphs import Sample

FLAG = "which_branch"


def check_branched(seed: int) -> tuple[onnx.ModelProto, onnx.ModelProto] | None:
    """Assert that a random graph in branches, collapsed, is valid and computes the same; the two, if there are any."""
    source = random.Random(seed)
    sample = draw_sample(source)
    model = branched(sample.model, source)
    if model is None:
        return None
    after = collapsed(model, sample)
    assert_valid(after, model)
    for feeds in sample.feeds:
        _, tolerance = expected(sample.model, feeds)
        for which in (True, False):
            fed = feeds | {FLAG: np.array(which)}
            try:
                wanted = run_runtime(model, fed)
            except RuntimeRefusal:
                continue
            assert_close(run_runtime(after, fed), wanted, tolerance)
    return model, after


def collapsed(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
    """Outside of the branches first, then inside."""
    outside = ir.from_proto(collapse_exact(model, ranges=sample.ranges))
    bodies = look_into(outside, Options(latency="off")).bodies
    after: onnx.ModelProto = ir.to_proto(taken(outside, (Step(bodies=bodies),)) if bodies else outside)
    return after


def branched(model: onnx.ModelProto, source: random.Random) -> onnx.ModelProto | None:
    """The last operators twice, once in each branch of an If; their weights stay outside or go with them.

    None where an output would be made outside of all of them.
    """
    graph = model.graph
    first = source.randint(0, len(graph.node) - 1)
    inner = list(graph.node[first:])
    made = {name for node in inner for name in node.output if name}
    outputs = [info.name for info in graph.output if info.name in made]
    if not outputs or "" in outputs:
        return None
    moves = source.random() < 0.5
    bodies = {name: _body(model, inner, outputs, name, moves) for name in ("then_branch", "else_branch")}
    result = onnx.ModelProto.FromString(model.SerializeToString())
    del result.graph.node[first:]
    result.graph.node.append(helper.make_node("If", [FLAG], outputs, name="branches", **bodies))
    result.graph.input.append(helper.make_tensor_value_info(FLAG, TensorProto.BOOL, []))
    del result.graph.value_info[:]
    if moves:
        _drop_unused(result)
    return result


def _body(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], outputs: list[str], name: str, moves: bool
) -> onnx.GraphProto:
    made = {value: f"{name}_{value}" for node in nodes for value in node.output if value}
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    for node in copies:
        node.name = f"{name}_{node.name}"
        _rename(node, made)
    used = {value for node in copies for value in _used(node)}
    fed = {info.name for info in model.graph.input}
    weights = []
    if moves:
        weights = [tensor for tensor in model.graph.initializer if tensor.name in used and tensor.name not in fed]
    kinds = {info.name: info.type.tensor_type.elem_type for info in _infos(model)}
    infos = [helper.make_tensor_value_info(made[value], kinds[value], None) for value in outputs]
    renamed = {tensor.name: f"{name}_{tensor.name}" for tensor in weights}
    for node in copies:
        _rename(node, renamed)
    copied = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in weights]
    for tensor in copied:
        tensor.name = renamed[tensor.name]
    return helper.make_graph(copies, name, [], infos, copied)


def _infos(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    inferred = shape_inference.infer_shapes(model).graph
    return [*inferred.value_info, *inferred.output]


def _drop_unused(model: onnx.ModelProto) -> None:
    graph = model.graph
    used = {value for node in graph.node for value in _used(node)} | {info.name for info in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += [t for t in graph.initializer if t.name not in used and t.name in {info.name for info in graph.input}]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """In its bodies too, whose values have names of their own."""
    node.input[:] = [names.get(value, value) for value in node.input]
    node.output[:] = [names.get(value, value) for value in node.output]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, names)


def _used(node: onnx.NodeProto) -> set[str]:
    inner = (value for attribute in node.attribute for one in attribute.g.node for value in _used(one))
    return {*node.input, *inner}
