"""Measuring: every count against numpy on fetched activations, and nothing depends on batches."""

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.activations.base import Activation, Number
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.measure import Measurement, counting, measure, runner, to_json
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.session import SessionConfig, open_session
from onnx_nepenthe.sources import Source, SourceOptions, open_source

REFERENCE = SessionConfig(threads=1, optimise=False)
FLOAT = TensorProto.FLOAT
TYPES: dict[str, Any] = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def make_model(
    nodes: Sequence[onnx.NodeProto],
    shape: Any,
    *,
    dtype: int = FLOAT,
    opset: int = 13,
    weights: Any = (),
    outputs: Sequence[str] = ("y",),
) -> ir.Model:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [
            helper.make_tensor_value_info(name, FLOAT if dtype == TensorProto.BFLOAT16 else dtype, None)
            for name in outputs
        ],
        [numpy_helper.from_array(array, name) for name, array in dict(weights).items()],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    return ir.from_proto(proto)


def rectifier(
    operand: str = "z", knots: Sequence[Number] = (0.0,), axis: int | None = 1, channels: int | None = 3, key: str = ""
) -> Rectifier:
    activation = Activation(tuple(knots), tuple((float(i), 0.0) for i in range(len(knots) + 1)))
    return Rectifier(
        key=key or f"after_{operand}",
        label=f"rectifier of {operand}",
        op="Relu",
        operand=operand,
        output="y",
        activation=activation,
        axis=axis,
        channels=channels,
        version=13,
    )


def source_of(x: Any, **options: Any) -> Source:
    dtype = {"float32": "float", "float64": "double"}.get(x.dtype.name, x.dtype.name)
    return open_source({"x": x}, [Tensor("x", (None, *x.shape[1:]), dtype)], SourceOptions(**options))


def counted(z: Any, knots: Sequence[Number], axis: int | None, channels: int) -> RegimeCounts:
    """The oracle: one element at a time, in float64."""
    flat = np.asarray(z, np.float64)
    flat = flat.reshape(1, -1) if axis is None else np.moveaxis(flat, axis, 0).reshape(channels, -1)
    found = RegimeCounts.empty(len(knots) + 1, channels)
    nonfinite = 0
    for channel, values in enumerate(flat):
        at = [float(np.broadcast_to(knot, (channels,))[channel]) for knot in knots]
        for value in values:
            if np.isnan(value):
                nonfinite += 1
            elif value in at:
                found.ties[at.index(value), channel] += 1
            else:
                found.counts[sum(value > knot for knot in at), channel] += 1
        clean = values[~np.isnan(values)]
        found.low[channel] = clean.min() if clean.size == values.size else -np.inf
        found.high[channel] = clean.max() if clean.size == values.size else np.inf
    return RegimeCounts(found.counts, found.ties, found.low, found.high, nonfinite)


def assert_equal(found: RegimeCounts, wanted: RegimeCounts) -> None:
    for name in ("counts", "ties", "low", "high", "nonfinite"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def halves(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """Numbers that every type holds, many of them 0, on both sides of it."""
    return (np.random.default_rng(0).integers(-4, 5, shape) / 2).astype(dtype)


Z = [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]


@pytest.mark.parametrize("opset", [7, 8, 9, 11, 12, 13, 17, 18, 21])
@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 2, 4), (5, 3, 2, 2, 2)])
def test_counts_are_those_of_numpy(opset: int, shape: tuple[int, ...]) -> None:
    model = make_model(Z, ("N", *shape[1:]), opset=opset, weights={"two": np.float32(2)})
    x = halves(shape)
    knots = (np.array([-2.0, 0.0, 1.0]), 3.0)
    found = measure(model, [rectifier(knots=knots)], source_of(x), config=REFERENCE, batch=2)
    assert found.samples == 5
    assert_equal(found.counts["after_z"], counted(x * 2, knots, 1, 3))


@pytest.mark.parametrize("dtype", ["float16", "double"])
@pytest.mark.parametrize("opset", [7, 11, 13, 18])
def test_counts_in_other_types(dtype: str, opset: int) -> None:
    number = {"float16": TensorProto.FLOAT16, "double": TensorProto.DOUBLE}[dtype]
    model = make_model(Z, ("N", 3, 40), dtype=number, opset=opset, weights={"two": np.asarray(2, TYPES[dtype])})
    x = halves((100, 3, 40), TYPES[dtype])
    found = measure(model, [rectifier(knots=(0.0, 2.0))], source_of(x), config=REFERENCE)
    assert_equal(found.counts["after_z"], counted(x * 2, (0.0, 2.0), 1, 3))


def test_counts_in_bfloat16() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["z"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["z"], ["y"], to=FLOAT),
    ]
    x = halves((9, 3, 5))
    found = measure(make_model(nodes, ("N", 3, 5)), [rectifier()], source_of(x), config=REFERENCE)
    assert_equal(found.counts["after_z"], counted(x, (0.0,), 1, 3))


@pytest.mark.parametrize(("axis", "channels"), [(-1, 4), (2, 4), (1, 3), (0, 5), (None, None), (None, 4), (1, None)])
def test_the_channel_axis_may_be_any_or_unknown(axis: int | None, channels: int | None) -> None:
    x = halves((5, 3, 4))
    model = make_model(Z, ("N", 3, 4), weights={"two": np.float32(2)})
    at = rectifier(axis=axis, channels=channels)
    found = measure(model, [at], source_of(x), config=REFERENCE, batch=5).counts["after_z"]
    known = axis if channels else None
    assert_equal(found, counted(x * 2, (0.0,), known, channels if channels and known is not None else 1))


@pytest.mark.parametrize(
    ("knots", "values"),
    [
        ((0.1,), [np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(0))]),
        ((-1e300, 1e300), [-1.0, 3.4e38]),
        ((0.0, 0.0), [-1.0, 0.0, 1.0]),
        ((1e-320,), [0.0, 1e-45]),
        ((), [-1.0, 1.0]),
    ],
    ids=["between two floats", "beyond floats", "coincident", "below floats", "none"],
)
def test_knots_that_the_type_cannot_hold(knots: tuple[float, ...], values: list[float]) -> None:
    x = np.array(values, np.float32).reshape(-1, 1)
    model = make_model([helper.make_node("Identity", ["x"], ["z"]), helper.make_node("Relu", ["z"], ["y"])], ("N", 1))
    found = measure(model, [rectifier(knots=knots, channels=1)], source_of(x), config=REFERENCE)
    assert_equal(found.counts["after_z"], counted(x, knots, 1, 1))
    assert found.counts["after_z"].observations.tolist() == [len(values)]


def test_nan_is_counted_apart() -> None:
    nodes = [helper.make_node("Sqrt", ["x"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    x = np.array([[4, 4, 0], [1, -1, 0], [1, 9, 0]], np.float32)
    with np.errstate(invalid="ignore"):
        z = np.sqrt(x)
    for opset in (7, 13):
        found = measure(make_model(nodes, ("N", 3), opset=opset), [rectifier()], source_of(x), batch=1)
        assert_equal(found.counts["after_z"], counted(z, (0.0,), 1, 3))
        assert found.counts["after_z"].nonfinite == 1


def test_infinities_are_ordinary_numbers() -> None:
    weights = {"inf": np.array([np.inf, -np.inf, 1], np.float32)}
    nodes = [helper.make_node("Mul", ["x", "inf"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    x = np.array([[1, 1, 1], [-1, 1, 1]], np.float32)
    found = measure(make_model(nodes, ("N", 3), weights=weights), [rectifier()], source_of(x))
    assert_equal(found.counts["after_z"], counted(x * weights["inf"], (0.0,), 1, 3))


def test_counts_beyond_what_a_float_can_count() -> None:
    elements = (1 << 24) + 3
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], ("N", 1, elements))
    x = np.ones((1, 1, elements), np.float32)
    x[0, 0, 7] = -1
    found = measure(model, [rectifier("x", channels=1)], source_of(x)).counts["after_x"]
    assert found.counts.tolist() == [[1], [elements - 1]]
    assert found.ties.tolist() == [[0]]


def test_careful_counting_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = halves((6, 3, 4))
    model = make_model(Z, ("N", 3, 4), weights={"two": np.float32(2)})
    fast = measure(model, [rectifier()], source_of(x), batch=2)
    monkeypatch.setattr(runner, "COUNTS_BYTES", ())
    assert to_json(measure(model, [rectifier()], source_of(x), batch=2)) == to_json(fast)
    monkeypatch.setattr(counting, "EXACT_FLOAT_COUNT", 3)
    assert to_json(measure(model, [rectifier()], source_of(x), batch=2)) == to_json(fast)


def branching_model() -> ir.Model:
    """z is a graph output, and the branches of an If capture it."""

    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{op}_out", FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["z"], [f"{op}_out"])], op, [], [out])

    nodes = [
        *Z,
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["w"], then_branch=branch("Neg"), else_branch=branch("Relu")),
        helper.make_node("Relu", ["w"], ["v"]),
    ]
    weights = {"two": np.float32(2), "zero": np.float32(0)}
    return make_model(nodes, ("N", 3), weights=weights, outputs=("z", "y", "v"))


def test_outputs_and_captured_values_are_left_alone() -> None:
    model = branching_model()
    before = ir.to_proto(model).SerializeToString()
    x = np.abs(halves((4, 3)))
    found = measure(model, [rectifier("z"), rectifier("w", axis=None)], source_of(x), config=REFERENCE)
    assert_equal(found.counts["after_z"], counted(x * 2, (0.0,), 1, 3))
    assert_equal(found.counts["after_w"], counted(x * -2, (0.0,), None, 1))
    assert ir.to_proto(model).SerializeToString() == before


def test_every_value_of_a_deeper_model_against_the_reference() -> None:
    """Conv, a residual, a transposition: z is fetched from onnxruntime with the optimiser off."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "x"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Transpose", ["e"], ["f"], perm=[0, 2, 3, 1]),
        helper.make_node("Sub", ["f", "bias"], ["g"]),
        helper.make_node("Relu", ["g"], ["y"]),
    ]
    weights = {name: rng.integers(-2, 3, (3, 3, 3, 3)).astype(np.float32) for name in ("w1", "w2")}
    weights["bias"] = np.array([0, 1, 2], np.float32)
    model = make_model(nodes, ("N", 3, 6, 5), weights=weights, outputs=("y", "a", "d", "g"))
    x = halves((7, 3, 6, 5))
    found = measure(model, [rectifier("a"), rectifier("d"), rectifier("g", axis=3)], source_of(x), batch=3)
    values = dict(zip("adg", open_session(model, REFERENCE).run({"x": x}, list("adg")), strict=True))
    for name, axis in (("a", 1), ("d", 1), ("g", 3)):
        assert_equal(found.counts[f"after_{name}"], counted(values[name], (0.0,), axis, 3))


FIXED = [
    helper.make_node("Mul", ["x", "two"], ["z"]),
    helper.make_node("Reshape", ["z", "flat"], ["r"]),
    helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0]),
    helper.make_node("Relu", ["t"], ["y"]),
]


def test_weights_that_a_caller_may_feed_have_no_say_in_the_batch() -> None:
    model = make_model(Z, (4, 3), weights={"two": np.full((1, 3), 2, np.float32)})
    model.graph.inputs.append(model.graph.initializers["two"])
    x = halves((6, 3))
    found = measure(model, [rectifier()], source_of(x), batch=1)
    assert_equal(found.counts["after_z"], counted(x * 2, (0.0,), 1, 3))


@pytest.mark.parametrize("samples", [1, 4, 7])
def test_padding_of_a_fixed_batch_is_not_counted(samples: int) -> None:
    weights = {"two": np.float32(2), "flat": np.array([4, 4])}
    model = make_model(FIXED, (4, 2, 2), weights=weights)
    x = halves((samples, 2, 2))
    every = [rectifier("z", channels=2), rectifier("r", channels=4), rectifier("t", axis=0, channels=4)]
    found = measure(model, every, source_of(x), batch=100)
    assert found.samples == samples
    assert_equal(found.counts["after_z"], counted(x * 2, (0.0,), 1, 2))
    flat = (x * 2).reshape(samples, 4)
    assert_equal(found.counts["after_r"], counted(flat, (0.0,), 1, 4))
    # Axis 0 of t is not the samples (though as long), so the incomplete batch is left out and the report says so.
    complete = samples // 4 * 4
    if complete:
        assert_equal(found.counts["after_t"], counted(flat[:complete], (0.0,), 1, 4))
    left = samples - complete
    note = f"rectifier of t: {left} samples of incomplete batches not counted"
    assert found.notes == ((note,) if left else ())


def test_a_whole_feed_is_one_sample_and_never_padded() -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], (3, "W"))
    feeds = [{"x": halves((3, 5))}, {"x": halves((3, 2))}]
    source = open_source(feeds, [Tensor("x", (3, "W"))], SourceOptions(whole_feeds=True))
    found = measure(model, [rectifier("x", axis=0)], source)
    assert found.samples == 2
    joined = np.concatenate([feed["x"] for feed in feeds], axis=1)
    assert_equal(found.counts["after_x"], counted(joined, (0.0,), 0, 3))


ARRAYS = st.integers(1, 9).flatmap(
    lambda n: st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 1.0, 7.0]), min_size=n * 6, max_size=n * 6)
)


@settings(max_examples=25)
@given(values=ARRAYS, batch=st.integers(1, 10), fixed=st.booleans(), data=st.data())
def test_neither_batch_size_nor_order_nor_shards_matter(
    values: list[float], batch: int, fixed: bool, data: st.DataObject
) -> None:
    x = np.array(values, np.float32).reshape(-1, 3, 2)
    model = make_model(Z, (batch if fixed else "N", 3, 2), weights={"two": np.float32(2)})
    whole_model = model if fixed else make_model(Z, ("N", 3, 2), weights={"two": np.float32(2)})
    knots = (np.array([0.0, 0.2, -1.0]), 2.0)
    found = measure(model, [rectifier(knots=knots)], source_of(x), batch=batch)
    assert_equal(found.counts["after_z"], counted(x * 2, knots, 1, 3))
    order = data.draw(st.permutations(range(len(x))))
    cut = data.draw(st.integers(1, len(x)))
    shards = [part for part in (x[order[:cut]], x[order[cut:]]) if len(part)]
    merged: list[Measurement] = [measure(whole_model, [rectifier(knots=knots)], source_of(s)) for s in shards]
    assert to_json(sum(merged[1:], merged[0])) == to_json(found)


def test_limit_part_and_progress() -> None:
    x = halves((10, 3))
    model = make_model(Z, ("N", 3), weights={"two": np.float32(2)})
    seen: list[int] = []
    found = measure(model, [rectifier()], source_of(x), batch=4, limit=6, progress=seen.append)
    assert seen == [4, 6]
    assert found.counts["after_z"].observations.tolist() == [6, 6, 6]
    parts = [measure(model, [rectifier()], source_of(x), part=p) for p in ("calibration", "verification")]
    assert to_json(parts[0] + parts[1]) == to_json(measure(model, [rectifier()], source_of(x)))


def test_what_cannot_be_measured_is_noted() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Reshape", ["x", "shape"], ["u"]),
        helper.make_node("Cast", ["shape"], ["y"], to=FLOAT),
    ]
    graph_inputs = make_model(nodes, ("N", 3), weights={"two": np.float32(2)})
    shape = ir.Value(name="shape", type=ir.TensorType(ir.DataType.INT64), shape=None)
    old = next(value for value in graph_inputs.graph[1].inputs if value is not None and value.name == "shape")
    ir.convenience.replace_all_uses_with(old, shape)
    graph_inputs.graph.inputs.append(shape)
    every = [
        rectifier("i"),
        rectifier("u"),
        rectifier("gone"),
        rectifier("x", knots=(np.array([0.0, 1.0, 2.0]),), axis=None),
    ]
    found = measure(graph_inputs, every, source_of(halves((2, 3))))
    assert found.counts == {}
    assert found.notes == (
        "rectifier of gone: not measured, its operand 'gone' is not in the main graph",
        "rectifier of i: not measured, its operand 'i' is int32, not a floating-point type",
        "rectifier of u: not measured, the rank of its operand 'u' is unknown",
        "rectifier of x: not measured, its knots differ by channel but its channel axis is unknown",
    )


def test_an_opset_before_7_is_refused() -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], ("N", 3), opset=6)
    with pytest.raises(UnsupportedError, match="opset 6 is too old to measure"):
        measure(model, [rectifier("x")], source_of(halves((2, 3))))


def test_other_channels_than_stated_are_refused() -> None:
    model = make_model(Z, ("N", "C"), weights={"two": np.float32(2)})
    with pytest.raises(UnsupportedError, match="z has 4 channels in this run and 3 by its stated shape"):
        measure(model, [rectifier()], source_of(halves((2, 4))))
