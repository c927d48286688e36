"""Random graphs under attack: every value stays inside its bounds, every proved line gives equal numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.prove import UNPROVED, Bounds, bounds_of, prove_regimes
from onnx_nepenthe.session import SessionConfig, open_session

RELU = Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))
FUSED = 2e-6
"""Relative slack for results of the optimiser, which may fold a constant into a sum that is bounded apart."""
CHANNELS, SIZE = 3, 4
UNARY = ("Relu", "Sigmoid", "Tanh", "Abs", "Neg", "LeakyRelu", "Softplus", "HardSwish", "Identity", "Elu", "Floor")
BINARY = ("Add", "Sub", "Mul", "Max", "Min")
KINDS = (*UNARY, *BINARY, "Conv", "Depthwise", "Scale", "Shift", "BatchNormalization", "MaxPool", "AveragePool")


class GraphMaker:
    """Draws nodes that keep the shape (2, CHANNELS, SIZE, SIZE), so that any value may feed any node."""

    def __init__(self, rng: np.random.Generator, ends: tuple[float, float]) -> None:
        self.rng, self.ends = rng, ends
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values = ["x"]

    def constant(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        name = f"c{len(self.initializers)}"
        sign = self.rng.choice([0.0, low], p=[0.4, 0.6])
        array = self.rng.uniform(max(sign, low), high, shape).astype(np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str) -> None:
        a, b = self.rng.choice(self.values), self.rng.choice(self.values)
        attributes: dict[str, object] = {}
        inputs = [a]
        if kind in BINARY:
            inputs = [a, b]
        elif kind in ("Conv", "Depthwise"):
            groups = CHANNELS if kind == "Depthwise" else 1
            inputs = [a, self.constant(CHANNELS, CHANNELS // groups, 3, 3), self.constant(CHANNELS)]
            attributes, kind = {"pads": [1] * 4, "group": groups}, "Conv"
        elif kind in ("Scale", "Shift"):
            inputs, kind = [a, self.constant(CHANNELS, 1, 1)], {"Scale": "Mul", "Shift": "Add"}[kind]
        elif kind == "BatchNormalization":
            inputs = [a, *(self.constant(CHANNELS) for _ in range(3)), self.constant(CHANNELS, low=0.1, high=2.0)]
        elif kind in ("MaxPool", "AveragePool"):
            attributes = {"kernel_shape": [3, 3], "pads": [1] * 4}
        self.nodes.append(helper.make_node(kind, inputs, [f"v{len(self.nodes)}"], **attributes))
        self.values.append(f"v{len(self.nodes) - 1}")

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        shape = (2, CHANNELS, SIZE, SIZE)
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        graph = helper.make_graph(
            self.nodes,
            "g",
            [x],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, shape) for o in outputs],
            self.initializers,
        )
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    def feed(self) -> np.ndarray:
        shape = (2, CHANNELS, SIZE, SIZE)
        corners, smooth = self.rng.choice(self.ends, shape), self.rng.uniform(*self.ends, shape)
        return np.where(self.rng.random(shape) < self.rng.random(), corners, smooth).astype(np.float32)


def assert_inside(bounds: Bounds, array: np.ndarray, slack: float = 0.0) -> None:
    values = np.moveaxis(array.astype(np.float64), bounds.axis if bounds.axis is not None else -1, -1)
    size = np.maximum(np.abs(bounds.low), np.abs(bounds.high))
    assert np.all(values >= bounds.low - slack * size)
    assert np.all(values <= bounds.high + slack * size)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8),
    ends=st.sampled_from([(0.0, 1.0), (-2.0, 2.0), (-1.0, 0.0), (3.0, 5.0)]),
    seed=st.integers(0, 2**16),
)
def test_random_graphs_stay_inside_their_bounds(kinds: list[str], ends: tuple[float, float], seed: int) -> None:
    maker = GraphMaker(np.random.default_rng(seed), ends)
    for kind in kinds:
        maker.add(kind)
    names = maker.values[1:]
    every, last = maker.model(names), maker.model(names[-1:])
    bounds = bounds_of(view_from_model(ir.from_proto(every)), {"x": ends})
    plain = open_session(ir.from_proto(every), SessionConfig(threads=1, optimise=False))
    optimised = open_session(ir.from_proto(last), SessionConfig(threads=1, optimise=True))
    evaluator = ReferenceEvaluator(every)
    for _ in range(4):
        feeds = {"x": maker.feed()}
        for values in (plain.run(feeds), evaluator.run(None, feeds)):
            for name, array in zip(names, values, strict=True):
                assert_inside(bounds[name], np.asarray(array))
        assert_inside(bounds[names[-1]], optimised.run(feeds)[0], FUSED)


@settings(max_examples=40, deadline=None)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), seed=st.integers(0, 2**16))
def test_proved_relus_compute_their_line(kinds: list[str], seed: int) -> None:
    """A Relu behind every value: where its regime is proved, its line gives the same numbers."""
    maker = GraphMaker(np.random.default_rng(seed), (0.0, 1.0))
    for kind in kinds:
        maker.add(kind)
    names = maker.values[1:]
    model = maker.model(names)
    bounds = bounds_of(view_from_model(ir.from_proto(model)), {"x": (0.0, 1.0)})
    session = open_session(ir.from_proto(model), SessionConfig(threads=1, optimise=False))
    for name, z in zip(names, session.run({"x": maker.feed()}), strict=True):
        for channel, piece in enumerate(prove_regimes(RELU, bounds[name], CHANNELS, 1)):
            if piece != UNPROVED:
                slope, _ = RELU.line(int(piece), 1)
                np.testing.assert_array_equal(np.maximum(z[:, channel], 0), slope * z[:, channel])
