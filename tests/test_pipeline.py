"""The stages together: whatever goes in, the result is equal, explained, and the same each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe import pipeline
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.evidence import Proved
from onnx_nepenthe.linearise import Decision
from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import assert_equal, collapse, inspect, options, removed, result_of
from tests.helpers.compare import feeds_for, operators

SIZES = {"N": 3}
LATENCIES = ("off", "macs")


def builder(**kinds: Any) -> Builder:
    return Builder(np.random.default_rng(0), **kinds)


def some(model: onnx.ModelProto, **sizes: int) -> dict[str, Array]:
    return feeds_for(model, np.random.default_rng(1), SIZES | sizes)


def positive(count: int = 20, *shape: int) -> Array:
    return np.random.default_rng(1).uniform(0.5, 1, (count, *(shape or (4,)))).astype(np.float32)


def chain(g: Builder) -> onnx.ModelProto:
    first = g.node("Relu", g.gemm("x", (4, 64)))
    second = g.gemm(g.node("Relu", g.node("Sigmoid", g.gemm(first, (64, 64)))), (64, 4))
    return g.model({"x": ["N", 4]}, [g.gemm(g.gemm(second, (4, 64)), (64, 2))])


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_proved_rectifier_goes_and_products_join(latency: str) -> None:
    model = chain(builder())
    outcome = collapse(model, latency=latency)
    after = assert_equal(outcome, model, some(model))
    assert operators(after) == {"Gemm": 3, "Relu": 1, "Sigmoid": 1}
    assert [(row.removed, isinstance(row.found, Decision)) for row in outcome.inspection.rows] == [
        (False, False),
        (True, True),
    ]
    assert (outcome.inspection.side.rectifiers, outcome.after.rectifiers) == (2, 1)
    assert outcome.after.size.parameters < outcome.inspection.side.size.parameters
    assert outcome.after.size.nodes < outcome.inspection.side.size.nodes
    assert outcome.after.size.weighted_depth == 3 < outcome.inspection.side.size.weighted_depth
    assert outcome.verdict is not None
    assert outcome.verdict.disjoint
    assert "random" in outcome.verdict.source
    assert outcome.message == "collapsed"
    assert outcome.latency is None


def test_inspecting_changes_nothing_and_says_what_could_go() -> None:
    model = chain(builder())
    before = model.SerializeToString()
    record = inspect(model)
    assert [isinstance(row.found, Decision) for row in record.rows] == [False, True]
    assert not any(row.removed for row in record.rows)
    assert model.SerializeToString() == before


def test_the_input_is_not_changed() -> None:
    model = ir.from_proto(chain(builder()))
    before = ir.to_proto(model).SerializeToString()
    pipeline.collapse(model, "net", options())
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("latency", LATENCIES)
def test_the_result_is_the_same_each_time(latency: str) -> None:
    model, data = chain(builder()), {"x": positive()}
    first, second = (result_of(collapse(model, latency=latency, data=data)) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


def test_the_result_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Sets of names are gone through in another order in each."""
    path = tmp_path / "net.onnx"
    onnx.save(chain(builder()), path)
    code = (
        "import hashlib, sys, onnx_ir as ir\n"
        "from onnx_nepenthe import pipeline\n"
        "from onnx_nepenthe.options import Options\n"
        "made = pipeline.collapse(ir.load(sys.argv[1]), 'net', Options(latency=sys.argv[2])).model\n"
        "print(hashlib.sha256(ir.to_proto(made).SerializeToString()).hexdigest())"
    )
    for latency in LATENCIES:
        runs = [
            subprocess.run(
                [sys.executable, "-c", code, str(path), latency],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                encoding="utf-8",
                check=True,
            ).stdout
            for seed in ("1", "2")
        ]
        assert runs[0] == runs[1]
        assert len(runs[0].strip()) == len(hashlib.sha256().hexdigest())


def test_collapsing_the_result_changes_nothing() -> None:
    model = chain(builder())
    assert collapse(result_of(collapse(model))).model is None


def test_a_model_that_does_nothing_stays() -> None:
    for op_type in ("Identity", "Tanh", "Gemm"):
        g = builder()
        outcome = collapse(
            g.model({"x": ["N", 4]}, [g.gemm("x", (4, 4)) if op_type == "Gemm" else g.node(op_type, "x")])
        )
        assert outcome.model is None
        assert not outcome.is_collapsed
        assert (outcome.verdict, outcome.rewrites, outcome.after) == (None, (), outcome.inspection.side)
        assert outcome.message == "nothing could be collapsed"


def test_an_input_that_is_an_output() -> None:
    graph = helper.make_graph(
        [],
        "nothing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
    )
    outcome = collapse(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    assert outcome.model is None


def test_a_model_without_inputs() -> None:
    g = builder()
    y = g.gemm(g.gemm(g.node("RandomUniform", shape=[2, 4], seed=1.0, low=2.0, high=2.0), (4, 4)), (4, 4))
    model = g.model({}, [g.node("Tanh", y)])
    assert operators(assert_equal(collapse(model), model, {}))["Gemm"] == 1


def test_a_model_of_constants_alone_is_a_constant() -> None:
    g = builder()
    y = g.node("Relu", g.node("Neg", g.constant(g.random(2, 4))))
    model = g.model({}, [y])
    after = assert_equal(collapse(model), model, {})
    assert operators(after) == {"Identity": 1}


def test_constants_alone_are_worth_a_rewrite_that_is_in_the_journal() -> None:
    g = builder()
    y = g.node("Mul", g.node("Relu", g.constant(g.random(4))), g.node("Tanh", "x"))
    model = g.model({"x": ["N", 4]}, [y])
    outcome = collapse(model)
    assert operators(assert_equal(outcome, model, some(model))) == {"Mul": 1, "Tanh": 1}
    (entry,) = outcome.rewrites
    assert (entry.source, entry.made) == ("", "constant")


def test_two_inputs() -> None:
    g = builder()
    joined = g.node("Relu", g.node("Add", g.gemm("x", (4, 64)), g.gemm("z", (4, 64))))
    model = g.model({"x": ["N", 4], "z": ["N", 4]}, [g.gemm(g.gemm(joined, (64, 4)), (4, 2))])
    data = {"x": positive(), "z": positive()}
    outcome = collapse(model, data=data)
    assert operators(assert_equal(outcome, model, data))["Gemm"] == 3


def test_inputs_of_integers_and_booleans() -> None:
    g = builder()
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("Where", ["mask", "embedded", "zero"], ["kept"]),
    ]
    table, zero = g.constant(g.random(2, 4), "table"), g.constant(0.0, "zero")
    y = g.gemm(g.gemm("kept", (4, 16)), (16, 2))
    graph = helper.make_graph(
        [*nodes, *g.nodes],
        "net",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, ["N", 1]),
        ],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 2])],
        g.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    feeds = {"ids": np.array([0, 1, 1]), "mask": np.array([[True], [False], [True]])}
    for latency in LATENCIES:
        assert operators(assert_equal(collapse(model, latency=latency), model, feeds))["Gemm"] == 1
    assert (table, zero) == ("table", "zero")


@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
@pytest.mark.parametrize("latency", LATENCIES)
def test_types(dtype: str, latency: str) -> None:
    model = chain(builder(dtype=dtype))
    outcome = collapse(model, latency=latency)
    after = assert_equal(outcome, model, some(model), 3e-2 if dtype == "float16" else 1e-5)
    assert operators(after)["Gemm"] == 3
    assert outcome.verdict is not None
    assert outcome.verdict.tolerance < {"float": 1e-2, "double": 1e-8, "float16": 1}[dtype]


def test_an_activation_called_three_times() -> None:
    """One layer of the framework, three operators of the graph, that share a slope; one of them is linear."""
    g = builder()
    slope = g.constant(np.array([0.25], np.float32))
    first = g.node("PRelu", "x", slope)
    second = g.node("PRelu", g.gemm(g.node("Sigmoid", first), (4, 4)), slope)
    third = g.node("PRelu", g.node("Sigmoid", second), slope)
    model = g.model({"x": ["N", 4]}, [g.gemm(third, (4, 2))])
    outcome = collapse(model)
    after = assert_equal(outcome, model, some(model))
    assert operators(after) == {"PRelu": 2, "Gemm": 2, "Sigmoid": 2}
    assert [row.removed for row in outcome.inspection.rows] == [False, False, True]


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_rectifier_of_ten_consumers(latency: str) -> None:
    g = builder()
    wide = g.node("Relu", g.gemm("x", (4, 64)), out="wide")
    model = g.model({"x": ["N", 4]}, [g.node("Tanh", g.gemm(wide, (64, 8))) for _ in range(10)])
    model.graph.initializer[1].CopyFrom(
        onnx.numpy_helper.from_array(np.full(64, 9, np.float32), g.initializers[1].name)
    )
    outcome = collapse(model, data={"x": positive()}, latency=latency)
    after = assert_equal(outcome, model, {"x": positive()})
    assert removed(outcome) == [g.nodes[1].name]
    assert "Relu" not in operators(after)
    assert operators(after)["Gemm"] <= 11
    assert outcome.after.size.macs is not None
    assert outcome.after.size.macs <= (outcome.inspection.side.size.macs or 0)


def test_a_rectifier_that_stays_for_others_is_not_called_removed() -> None:
    """Label and decision are not what counts: the operator is, or is not, in the result."""
    g = builder()
    relu = g.node("Relu", g.node("Sigmoid", "x"), out="relu")
    model = g.model({"x": ["N", 4]}, [relu, g.node("Tanh", relu)])
    outcome = collapse(model)
    assert removed(outcome) == [g.nodes[1].name]
    assert "Relu" not in operators(assert_equal(outcome, model, some(model)))


def test_namesakes_are_told_apart() -> None:
    """Names may repeat; onnxruntime takes no such model, onnx.reference does."""
    g = builder()
    first = g.node("Relu", g.node("Sigmoid", "x"))
    model = g.model({"x": ["N", 4]}, [g.node("Relu", g.gemm(first, (4, 4)))])
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.name = "act"
    outcome = collapse(model)
    assert [row.removed for row in outcome.inspection.rows] == [True, False]


def branching() -> onnx.ModelProto:
    """The branches read a value inside a chain of products, its end, and a rectifier that is a line."""
    g = builder()
    for before, after in zip("xab", "abc", strict=True):
        g.node("MatMul", before, g.constant(g.random(4, 4)), out=after)
    g.node("Relu", g.node("Sigmoid", "c"), out="d")
    bodies = []
    for name, inputs in (("then", ["a", "d"]), ("else", ["c", "d"])):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4])
        bodies.append(helper.make_graph([helper.make_node("Add", inputs, [name])], name, [], [out]))
    condition = g.node("Greater", g.node("ReduceSum", "x", keepdims=0), g.constant(0.0))
    y = g.node("If", condition, then_branch=bodies[0], else_branch=bodies[1])
    return g.model({"x": [2, 4]}, [y])


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("sign", [1, -1])
def test_branches_that_capture_values_of_regions(latency: str, sign: int) -> None:
    model = branching()
    outcome = collapse(model, latency=latency)
    after = assert_equal(outcome, model, {"x": sign * positive(2)})
    assert operators(after)["MatMul"] == 2
    assert "Relu" not in operators(after)


def fixed(g: Builder, batch: int) -> onnx.ModelProto:
    deep = g.conv(g.node("Relu", g.conv("x", (3, 4), (3, 3))), (4, 4), (1, 1))
    return g.model({"x": [batch, 3, 6, 6]}, [g.node("Flatten", g.conv(deep, (4, 2), (1, 1)))])


@pytest.mark.parametrize("samples", [1, 3, 10, 11])
def test_a_fixed_batch_and_a_ragged_last_one(samples: int) -> None:
    model = fixed(builder(), 4)
    outcome = collapse(model, data={"x": positive(samples, 3, 6, 6), "labels": np.zeros(samples, np.int64)})
    assert_equal(outcome, model, {"x": positive(4, 3, 6, 6)})
    assert outcome.verdict is not None
    assert outcome.verdict.samples == max(1, -(-samples // 5))
    assert outcome.verdict.disjoint == (samples > 1)
    if samples == 1:
        assert "the calibration samples" in outcome.verdict.source


def custom(last: bool) -> onnx.ModelProto:
    g = builder()
    y = g.node("Tanh", g.gemm(g.gemm("x", (4, 64)), (64, 4)))
    model = g.model({"x": ["N", 4]}, [y])
    if last:
        model.graph.node[-1].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


@pytest.mark.parametrize("latency", ["off", "macs", "measured"])
def test_a_model_that_nothing_here_can_run_is_refused_in_one_line(latency: str) -> None:
    with pytest.raises(UnsupportedError, match=r"nothing here can run the model.*com\.example") as caught:
        collapse(custom(last=True), latency=latency)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_model_that_only_the_reference_runs_is_verified_by_it() -> None:
    model = custom(last=False)
    for node in model.graph.node:
        node.name = "same"
    outcome = collapse(model, latency="measured")
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    assert "onnx.reference" in outcome.verdict.engine
    assert [r.stage for r in outcome.refusals] == ["model"]
    assert outcome.latency is None


def with_overridable(home: str) -> onnx.ModelProto:
    g = builder()
    weight = g.constant(g.random(4, 4), home=home)  # type: ignore[arg-type]
    return g.model(
        {"x": ["N", 4]}, [g.node("Tanh", g.node("MatMul", g.node("MatMul", "x", weight), g.constant(g.random(4, 4))))]
    )


def test_weights_that_a_caller_may_feed_are_kept_unless_frozen() -> None:
    model = with_overridable("input")
    outcome = collapse(model)
    assert outcome.model is None
    assert any("--freeze-initializers" in refusal.lift for refusal in outcome.refusals)
    frozen = result_of(collapse(model, freeze_initializers=True))
    assert operators(frozen) == {"MatMul": 1, "Tanh": 1}
    assert [value.name for value in frozen.graph.input] == ["x"]
    assert operators(result_of(collapse(with_overridable("initializer")))) == {"MatMul": 1, "Tanh": 1}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("", {"Gemm": 3, "Relu": 1, "Sigmoid": 1}),
        ("Relu", {"Gemm": 3, "Relu": 2, "Sigmoid": 1}),
        ("Gemm", {"Gemm": 5, "Relu": 1, "Sigmoid": 1}),
    ],
)
def test_rules_that_are_left_out(rule: str, wanted: dict[str, int]) -> None:
    model = chain(builder())
    assert operators(assert_equal(collapse(model, skip=frozenset({rule})), model, some(model))) == wanted


def test_proved_only_takes_nothing_from_data() -> None:
    model = chain(builder())
    data = {"x": positive()}
    outcome = collapse(model, data=data, proved_only=True)
    assert all(
        isinstance(row.found.evidence, Proved) for row in outcome.inspection.rows if isinstance(row.found, Decision)
    )
    alone = collapse(model)
    assert result_of(outcome).SerializeToString() == result_of(alone).SerializeToString()
    assert outcome.verdict is not None
    assert outcome.verdict.source == "the given arrays", "the data still verify"


def test_the_seed_decides_what_calibrates_and_what_verifies() -> None:
    model = chain(builder())
    data = {"x": positive(40)}
    runs = [collapse(model, data=data, seed=seed) for seed in (0, 0, 1)]
    errors = [run.verdict.max_abs_error for run in runs if run.verdict is not None]
    assert errors[0] == errors[1]
    assert runs[0].options["seed"] == 0


def test_labels_give_accuracies() -> None:
    model = chain(builder())
    data = {"x": positive(50), "labels": np.zeros(50, np.int64)}
    verdict = collapse(model, data=data).verdict
    assert verdict is not None
    assert verdict.top1_before == verdict.top1_after
    assert verdict.agreement == 1.0
    assert verdict.samples == 10


def test_progress_is_told_in_order() -> None:
    told: list[str] = []
    collapse(chain(builder()), data={"x": positive()}, progress=lambda stage, *_: told.append(stage))
    assert list(dict.fromkeys(told)) == ["reading", "measuring", "planning", "verifying"]


MODELS: dict[str, Callable[[Builder], str]] = {
    "Mul by zero": lambda g: g.gemm(g.node("Mul", "x", g.constant(0.0)), (4, 4)),
    "Clip with bounds swapped": lambda g: g.gemm(g.node("Clip", "x", g.constant(2.0), g.constant(-1.0)), (4, 4)),
    "output and operand at once": lambda g: g.node("Relu", g.node("Relu", "x", out="inner")),
    "x + x": lambda g: g.gemm(g.node("Add", "x", "x"), (4, 4)),
    "x - x": lambda g: g.gemm(g.node("Sub", "x", "x"), (4, 4)),
}


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", MODELS)
def test_oddities(name: str, latency: str) -> None:
    g = builder()
    y = MODELS[name](g)
    inner = ["inner"] if any("inner" in node.output for node in g.nodes) else []
    model = g.model({"x": ["N", 4]}, [y, *inner])
    outcome = collapse(model, latency=latency)
    if outcome.is_collapsed:
        assert_equal(outcome, model, some(model))


@pytest.mark.parametrize("version", [3, 8])
def test_old_files(version: int) -> None:
    model = chain(builder(ir_version=version, opset=9))
    after = assert_equal(collapse(model), model, some(model))
    assert operators(after)["Gemm"] == 3


def test_measured_once() -> None:
    """Really timed: the result is not slower by its own interval."""
    g = builder()
    y = g.gemm(g.gemm(g.node("Relu", g.node("Sigmoid", "x")), (16, 1024)), (1024, 16))
    model = g.model({"x": ["N", 16]}, [g.node("Tanh", y)])
    outcome = collapse(model, latency="measured", latency_batch=8)
    assert operators(assert_equal(outcome, model, some(model))) == {"Sigmoid": 1, "Gemm": 1, "Tanh": 1}
    assert outcome.latency is not None
    assert not outcome.latency.is_slower
    assert all(speedup > 0 for speedup in outcome.speedups.values())


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("first", ["Relu", "Softplus"])
def test_an_operator_that_takes_the_name_of_an_output_is_not_called_removed(first: str, named: bool) -> None:
    g = builder()
    y = g.node("Relu", g.node(first, g.conv("x", (3, 4), (1, 1))))
    model = g.model({"x": ["N", 3, 5, 5]}, [y])
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}" if named else ""
    outcome = collapse(model, latency="off")
    assert [row.removed for row in outcome.inspection.rows] == [False, True]
