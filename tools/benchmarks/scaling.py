"""How the time of rewriting grows with the number of operators."""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from benchmarks import readme
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.candidate import make_candidate
from onnx_nepenthe.inspection import find
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from onnx_nepenthe.session import environment

CHANNELS = 8
LATENCIES = ("off", "macs", "measured")


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
    parser = argparse.ArgumentParser(prog="tools/bench.py scaling", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--latency", choices=LATENCIES, nargs="+", default=["off"], help="how compositions are chosen")
    parser.add_argument("--verify", action="store_true", help="count verification too")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--update-readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args(arguments)
    rows = [measured(size, latency, verify=options.verify) for latency in options.latency for size in options.sizes]
    table = markdown(rows, verify=options.verify)
    print(table)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    if options.update_readme:
        readme.replace("scaling", table)


@dataclass(frozen=True)
class Row:
    """One size: operators before and after, seconds for all, and the largest the process has been, MiB."""

    latency: str
    operators: int
    after: int
    seconds: float
    peak_mib: float


def measured(size: int, latency: str, *, verify: bool) -> Row:
    """Rewrite a network of about `size` operators."""
    model = ir.from_proto(network(size))
    options = Options(latency=latency)
    start = time.perf_counter()
    after = collapse(model, "scaling", options).after.size.nodes if verify else rewritten(model, options)
    seconds = time.perf_counter() - start
    return Row(latency, len(model.graph), after, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def markdown(rows: list[Row], *, verify: bool) -> str:
    """The table with its caption."""
    machine = environment()
    what = "and verification " if verify else ""
    lines = [
        f"From the model in memory to the new model {what}(no cache of timings), random residual networks; "
        f"Python {machine['python']}, {machine['cpu']}.",
        "",
        "| `--latency` | operators | after | seconds | seconds per 1,000 | peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.latency} | {row.operators:,} | {row.after:,} | {row.seconds:.2f} "
        f"| {1000 * row.seconds / row.operators:.2f} | {row.peak_mib:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def rewritten(model: ir.Model, options: Options) -> int:
    """Everything but verification: read, prove, decide, plan, time if asked to, rewrite; the number of operators."""
    candidate = make_candidate(find(model, options), options)
    return len((candidate.model or model).graph)
