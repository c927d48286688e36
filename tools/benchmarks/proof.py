"""Units proved to stay in one regime, beside `onnxsim.stable_relu_prune` on the same graphs and input ranges.

A unit is a channel of a Relu, as both count it. Every proof of ours is attacked (`tests/helpers/attack.py`). The exit
code is 1 when we prove fewer units anywhere or a proof falls.

`--slow` takes the bundled convolutional model too, on which onnxsim takes minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from benchmarks import readme
from onnx import TensorProto, helper, numpy_helper
from onnxsim import stable_relu_prune
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from onnx_nepenthe import __version__
from onnx_nepenthe.session import environment

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.helpers.attack import claims_of, falsified, proved  # noqa: E402

Box = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Case:
    """A graph, its name, and the range of its inputs."""

    name: str
    model: onnx.ModelProto
    box: Box


class Graph:
    """Grows a graph node by node; random weights keep the size of values."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, array: np.ndarray) -> str:
        """The name of a new initializer, in float32."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def random(self, *shape: int) -> str:
        """Normal numbers divided by the square root of the fan-in."""
        return self.weight(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1))

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        """The name of the new node's output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, into: int, out: int) -> str:
        """A 3x3 convolution with bias that keeps the size."""
        weight, bias = self.random(out, into, 3, 3), self.weight(self.rng.standard_normal(out) / 3)
        return self.node("Conv", x, weight, bias, pads=[1] * 4)

    def model(self, shape: list[int], output: str) -> onnx.ModelProto:
        """From `input` (N, *shape) to `output`."""
        x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *shape])
        y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "graph", [x], [y], self.weights)
        made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
        return onnx.shape_inference.infer_shapes(made)


def mlp(seed: int, *sizes: int) -> onnx.ModelProto:
    """Gemm and Relu by turns."""
    graph, x = Graph(seed), "input"
    for index, (into, out) in enumerate(pairwise(sizes)):
        x = graph.node("Relu", x) if index else x
        bias = graph.weight(graph.rng.standard_normal(out) / 3)
        x = graph.node("Gemm", x, graph.random(out, into), bias, transB=1)
    return graph.model([sizes[0]], x)


def cnn(seed: int, size: int, *channels: int, pool: bool = False) -> onnx.ModelProto:
    """A convolution and a residual block for each width, perhaps a MaxPool, a mean and a Gemm."""
    graph, x = Graph(seed), "input"
    for into, out in pairwise(channels):
        x = graph.node("Relu", graph.conv(x, into, out))
        x = graph.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]) if pool else x
        y = graph.conv(graph.node("Relu", graph.conv(x, out, out)), out, out)
        x = graph.node("Relu", graph.node("Add", x, y))
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    x = graph.node("Relu", graph.node("Gemm", x, graph.random(16, channels[-1]), transB=1))
    return graph.model([channels[0], size, size], x)


def trained_mlp(*hidden: int) -> onnx.ModelProto:
    """Trained on scikit-learn's digits, 64 pixels in [0, 1]."""
    digits = load_digits()
    net = MLPClassifier(hidden, max_iter=60, early_stopping=True, random_state=0)
    net.fit(digits.data / 16, digits.target)
    graph, x = Graph(0), "input"
    for index, (weight, bias) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        x = graph.node("Relu", x) if index else x
        x = graph.node("Gemm", x, graph.weight(weight), graph.weight(bias))
    return graph.model([64], x)


def cases(slow: bool) -> Iterator[Case]:
    """Small nets first."""
    for seed in range(3):
        yield Case(f"mlp 20-64-64-64-10, seed {seed}", mlp(seed, 20, 64, 64, 64, 10), (-0.1, 0.1))
    for seed in range(3):
        yield Case(f"mlp 100-200-200-10, seed {seed}", mlp(seed, 100, 200, 200, 10), (0.0, 0.05))
    yield Case("mlp 784-256-128-10", mlp(0, 784, 256, 128, 10), (0.5, 0.51))
    yield Case("mlp 784-256-128-10", mlp(0, 784, 256, 128, 10), (0.0, 0.05))
    for seed in range(3):
        yield Case(f"cnn 3-8, 8x8, seed {seed}", cnn(seed, 8, 3, 8), (0.0, 0.05))
    for seed in range(3):
        yield Case(f"cnn 3-8-12, 8x8, seed {seed}", cnn(seed, 8, 3, 8, 12), (0.4, 0.42))
    yield Case("cnn 3-8-12, 12x12, MaxPool", cnn(0, 12, 3, 8, 12, pool=True), (0.4, 0.42))
    digits = trained_mlp(48, 32)
    for box in ((0.0, 1.0), (0.4, 0.6), (0.5, 0.52)):
        yield Case("mlp 64-48-32-10, trained on digits", digits, box)
    for file in sorted((ROOT / "models").glob("digits-*.onnx")):
        if slow or "resnet" not in file.name:
            for box in ((0.0, 1.0), (0.5, 0.51)):
                yield Case(file.name, onnx.load(file), box)


def timed(call: Callable[[], int]) -> tuple[int, float]:
    """The result of `call`, and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def theirs(case: Case) -> int:
    """Units that onnxsim proves dead or always on, by intervals or CROWN."""
    report = stable_relu_prune.analyze(case.model, {"input": case.box})
    return report.total("dead") + report.total("always_on")


@dataclass(frozen=True)
class Row:
    """Units of one case, how many each proves, and in how many seconds; `fallen` proofs of ours were refuted."""

    case: Case
    units: int
    theirs: int
    theirs_s: float
    by_intervals: int
    ours: int
    ours_s: float
    fallen: int

    @property
    def is_good(self) -> bool:
        """Whether we prove at least as many and none fell."""
        return self.ours >= self.theirs and not self.fallen

    def __str__(self) -> str:
        low, high = self.case.box
        proved_by = f"{self.theirs} | {self.by_intervals} | {self.ours} | {self.theirs_s:.2f} | {self.ours_s:.2f}"
        return f"| {self.case.name} | {low:g} … {high:g} | {self.units} | {proved_by} | {self.fallen} |"


def row(case: Case, budget_s: float) -> Row:
    """Both on one case."""
    relus = {node.input[0] for node in case.model.graph.node if node.op_type == "Relu"}
    ranges = {"input": case.box}
    start = time.perf_counter()
    claims = [c for c in claims_of(case.model, ranges, budget_s) if c.operand in relus]
    ours_s = time.perf_counter() - start
    by_intervals = proved([c for c in claims_of(case.model, ranges, 0.0) if c.operand in relus])
    number, theirs_s = timed(lambda: theirs(case))
    fallen = len(falsified(case.model, claims, ranges, np.random.default_rng(0)))
    units = sum(len(c.pieces) for c in claims)
    return Row(case, units, number, theirs_s, by_intervals, proved(claims), ours_s, fallen)


def caption(budget_s: float) -> str:
    """What the table is of, with versions and machine."""
    machine = environment()
    return (
        "Units (channels of a Relu) proved to stay in one regime for every input in the range: "
        f"`onnxsim.stable_relu_prune` {version('onnxsim')} (intervals and CROWN), and onnx-nepenthe {__version__} by "
        f"intervals alone and with linear relaxation, at most {budget_s:g} s each. Every proof was attacked: a search "
        "for an input against it; the last column counts those that fell. Random nets unless named otherwise; "
        f"{os.cpu_count()} cores of {machine['cpu']}."
    )


HEADER = (
    "| graph | input range | units | onnxsim | intervals | relaxation | onnxsim, s | ours, s | refuted |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 when we prove fewer units anywhere or a proof falls."""
    parser = argparse.ArgumentParser(prog="tools/bench.py proof", description=__doc__.splitlines()[0])
    parser.add_argument("--slow", action="store_true", help="the bundled convolutional model too")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each of our proofs (60)")
    parser.add_argument("--update-readme", action="store_true", help="put the table into README.md")
    given = parser.parse_args(argv)
    print(HEADER)
    rows = []
    for case in cases(given.slow):
        rows.append(row(case, given.budget))
        print(rows[-1], flush=True)
    if given.update_readme:
        readme.replace("proof", "\n".join([caption(given.budget), "", HEADER, *map(str, rows)]))
    return 0 if all(one.is_good for one in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
