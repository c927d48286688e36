"""Sums for lines and counts by class, against numpy on the same values."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.probe import What, build_probe
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.measure import Collect, Measurement, measure, to_json
from onnx_nepenthe.measure.run import targets_of
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.session import SessionConfig
from onnx_nepenthe.sources import Source, SourceOptions, open_source

LINES, CLASSES = Collect(lines=True), Collect(classes=True)


def make(shape: Any, nodes: Any = None, dtype: int = TensorProto.FLOAT) -> ir.Model:
    two = np.asarray(2, helper.tensor_dtype_to_np_dtype(dtype))
    nodes = nodes or [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(two, "two")],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return ir.from_proto(proto)


def run(model: ir.Model, x: Any, collect: Collect, labels: Any = None, batch: int = 3, **options: Any) -> Measurement:
    view = view_from_model(model)
    arrays = {"x": x} | ({} if labels is None else {"labels": np.asarray(labels)})
    source: Source = open_source(arrays, [view.tensors["x"]], SourceOptions(**options))
    return measure(
        model, find_rectifiers(view)[0], source, collect=collect, batch=batch, config=SessionConfig(threads=1)
    )


@pytest.mark.parametrize(("shape", "axis"), [((7, 3), 1), ((7, 3, 4), 2), ((7, 3, 4, 5), 1), ((8, 3, 4, 5), 1)])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_sums_for_lines(shape: tuple[int, ...], axis: int, fixed: bool, dtype: int) -> None:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    x = (np.random.default_rng(0).integers(-8, 9, shape) / 4).astype(kind)
    found = run(make((4 if fixed else "N", *shape[1:]), dtype=dtype), x, LINES).lines["y"]
    z = np.moveaxis(x.astype(np.float64) * 2, axis, 0).reshape(shape[axis], -1)
    y = np.maximum(z, 0)
    assert found.n.tolist() == [z.shape[1]] * shape[axis]
    for name, value in {"z": z, "zz": z * z, "y": y, "yy": y * y, "zy": z * y}.items():
        np.testing.assert_array_equal(getattr(found, name), value.sum(axis=1), err_msg=name)


def test_sums_are_added_in_double_across_samples() -> None:
    """One sample of 2^24 and a thousand of 1: float32 would lose every one of them."""
    x = np.ones((1001, 1), np.float32)
    x[0] = 1 << 23
    found = run(make(("N", 1)), x, LINES, batch=1001).lines["y"]
    assert found.z.tolist() == [(1 << 24) + 2000]


def test_a_line_fits_a_rectifier_made_of_several_operators() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
        helper.make_node("Mul", ["z", "s"], ["y"]),
    ]
    x = np.random.default_rng(0).normal(size=(50, 2, 3, 2)).astype(np.float32)
    found = run(make(("N", 2, 3, 2), nodes), x, LINES).lines["y"]
    z = (x.astype(np.float64) * 2).swapaxes(0, 1).reshape(2, -1)
    y = z / (1 + np.exp(-z))
    for at in range(2):
        slope, intercept = np.polyfit(z[at], y[at], 1)
        assert found.line()[0][at] == pytest.approx(slope, rel=1e-4)
        assert found.line()[1][at] == pytest.approx(intercept, rel=1e-3)


@pytest.mark.parametrize("fixed", [False, True])
def test_counts_by_class_are_those_of_each_class_alone(fixed: bool) -> None:
    rng = np.random.default_rng(0)
    x, labels = (rng.integers(-2, 3, (11, 3, 4)) / 2).astype(np.float32), rng.integers(0, 3, 11)
    model = make((4 if fixed else "N", 3, 4))
    found = run(model, x, CLASSES, labels).classes["y"]
    assert found.classes == tuple(np.unique(labels).tolist())
    for label in found.classes:
        alone = run(model, x[labels == label], Collect()).counts["y"]
        np.testing.assert_array_equal(found.by_class[label].counts, alone.counts)
        np.testing.assert_array_equal(found.by_class[label].ties, alone.ties)


def test_a_selective_channel_is_told_from_a_noisy_one() -> None:
    labels = np.arange(40) % 2
    rng = np.random.default_rng(0)
    x = np.stack([labels * 2.0 - 1, rng.permutation(labels) * 2.0 - 1, np.ones(40)], axis=1).astype(np.float32)
    found = run(make(("N", 3)), x, CLASSES, labels)
    assert found.counts["y"].channel_entropy().tolist() == [1.0, 1.0, 0.0]
    bits = found.classes["y"].mutual_information()
    assert bits[0] == 1.0
    assert bits[1] < 0.2
    assert bits[2] == 0.0
    assert found.classes["y"].psp_entropy()[0] == 0.0


def test_statistics_of_shards_add_up() -> None:
    rng = np.random.default_rng(0)
    x, labels = (rng.integers(-4, 5, (9, 2, 3)) / 2).astype(np.float32), np.arange(9) % 3
    both = Collect(lines=True, classes=True)
    whole = run(make(("N", 2, 3)), x, both, labels)
    parts = [run(make(("N", 2, 3)), x[at], both, labels[at]) for at in (slice(4), slice(4, None))]
    assert to_json(parts[0] + parts[1]) == to_json(whole)
    assert whole.settings["collect"] == "counts+lines+classes"
    assert whole.seen == {"y": 9}


def test_sums_of_a_relu_need_its_operand_alone() -> None:
    """z² and y are summed from one z; the model's own Relu is left as it is."""
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
    model = make(("N", 2, 4, 5))
    (target,), _ = targets_of(view_from_model(model), find_rectifiers(view_from_model(model))[0])
    assert target.is_relu
    taps = build_probe(model, view_from_model(model), [target], What(lines={"y"})).taps[0]
    assert taps.lines[3] == taps.lines[4]
    leaky = make(("N", 2, 4, 5), [helper.make_node("LeakyRelu", ["x"], ["y"])])
    (target,), _ = targets_of(view_from_model(leaky), find_rectifiers(view_from_model(leaky))[0])
    assert not target.is_relu
    found = run(leaky, x, LINES).lines["y"]
    y = np.where(x > 0, x, 0.01 * x).astype(np.float64)
    np.testing.assert_allclose(found.zy, (x * y).sum(axis=(0, 2, 3)), rtol=1e-5)


def test_classes_need_labels() -> None:
    x = np.ones((3, 2), np.float32)
    with pytest.raises(UsageError, match="need labels, and the data have none"):
        run(make(("N", 2)), x, CLASSES)
    with pytest.raises(UsageError, match="one class number per sample"):
        run(make(("N", 2)), x, CLASSES, np.ones((3, 2), np.int64))


def test_a_value_without_samples_on_axis_0_has_no_classes_and_a_note_says_so() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Transpose", ["a"], ["z"], perm=[1, 0]),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    # The second rectifier's operand is never negative; only the axes matter here.
    found = run(make(("N", 2), nodes), np.ones((3, 2), np.float32), CLASSES, [0, 1, 1])
    assert "y" not in found.classes
    assert any("no counts by class" in note for note in found.notes)


def test_a_scan_collects_nothing_else() -> None:
    with pytest.raises(UsageError, match="a scan stops early"):
        Collect(scan=True, lines=True)
