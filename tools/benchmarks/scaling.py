"""How the time of rewriting grows with the number of operators (latency not measured)."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse

CHANNELS = 8


def network(operators: int, seed: int = 0) -> onnx.ModelProto:
    """Residual blocks of Conv, BatchNormalization, Relu, 1x1 Conv, Conv, Add and Relu: `operators` of them in all."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(*shape: int) -> str:
        name = f"w{len(weights)}"
        scale = 1.0 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        weights.append(numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name))
        return name

    def add(op: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], name=f"n{len(nodes)}", **attributes))
        return name

    c, value = CHANNELS, "x"
    while len(nodes) < operators:
        skip = value
        value = add("Conv", value, weight(c, c, 3, 3), pads=[1, 1, 1, 1])
        value = add("BatchNormalization", value, weight(c), weight(c), weight(c), _positive(weights, rng, c))
        value = add("Relu", value)
        value = add("Conv", value, weight(2 * c, c, 1, 1), weight(2 * c))
        value = add("Conv", value, weight(c, 2 * c, 3, 3), pads=[1, 1, 1, 1])
        value = add("Add", value, skip)
        value = add("Relu", value)
    graph = helper.make_graph(
        nodes,
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", c, 8, 8])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", c, 8, 8])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _positive(weights: list[onnx.TensorProto], rng: np.random.Generator, size: int) -> str:
    name = f"w{len(weights)}"
    weights.append(numpy_helper.from_array((1 + rng.random(size)).astype(np.float32), name))
    return name


def main(arguments: list[str]) -> None:
    """Print seconds per size, and per 1,000 operators."""
    parser = argparse.ArgumentParser(prog="bench.py scaling", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--verify", action="store_true", help="count verification too")
    options = parser.parse_args(arguments)
    print(f"{'operators':>10} {'after':>7} {'seconds':>9} {'s per 1000':>11} {'peak MiB':>9}")
    for size in options.sizes:
        model = ir.from_proto(network(size))
        start = time.perf_counter()
        if options.verify:
            after = collapse(model, "scaling", Options(latency="off")).after.size.nodes
        else:
            after = rewritten(model)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        count = len(model.graph)
        print(f"{count:>10} {after:>7} {seconds:>9.2f} {1000 * seconds / count:>11.2f} {peak:>9.0f}")


def rewritten(model: ir.Model) -> int:
    """Everything but running the models: read, prove, decide, plan, rewrite."""
    from onnx_nepenthe.charting import chart
    from onnx_nepenthe.inspection import find
    from onnx_nepenthe.plan import plan
    from onnx_nepenthe.prices import EveryExact
    from onnx_nepenthe.rewrite import rewrite

    findings = find(model, Options(latency="off"))
    atlas = chart(findings.view, findings.linearised.decisions)
    return len(rewrite(model, findings.view, plan(atlas, EveryExact({}))).graph)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
