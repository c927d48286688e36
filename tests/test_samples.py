"""What models are verified and timed on: the user's data, whole batches of it, or seeded random numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.samples import RANDOM_BATCHES, random_batches, timing_feeds, verification_batches
from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import findings, options, parts


def net(batch: int | str = "N") -> onnx.ModelProto:
    g = Builder(np.random.default_rng(0))
    return g.model({"x": [batch, 3]}, [g.node("Relu", "x")])


def numbered(count: int) -> Array:
    """Sample i is i + 1 everywhere."""
    return np.repeat(np.arange(1, count + 1, dtype=np.float32)[:, None], 3, axis=1)


def typed(kinds: dict[str, tuple[int, list[int | str] | None]]) -> onnx.ModelProto:
    """One input a kind, each cast to float and added up."""
    nodes = [helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT) for name in kinds]
    nodes.append(helper.make_node("Sum", [f"{name}_float" for name in kinds], ["y"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in kinds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_without_data_the_same_random_numbers_each_time() -> None:
    found = findings(net())
    for seed in (0, 1):
        batches, name, disjoint = verification_batches(found, options(seed=seed))
        again, *_ = verification_batches(found, options(seed=seed))
        first, second = list(batches), list(again)
        assert (name, disjoint, len(first)) == ("seeded random input", True, RANDOM_BATCHES)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a.feeds["x"], b.feeds["x"])
        assert len({a.feeds["x"].tobytes() for a in first}) == RANDOM_BATCHES
    assert next(random_batches(found, options(), 1)).feeds["x"].tobytes() != first[0].feeds["x"].tobytes()


def test_random_numbers_keep_to_the_declared_range() -> None:
    batches = random_batches(findings(net()), options(input_ranges={"x": (0.25, 0.5)}, latency_batch=50), 3)
    values = np.concatenate([batch.feeds["x"] for batch in batches])
    assert values.shape == (150, 3)
    assert 0.25 <= values.min() < 0.3
    assert 0.45 < values.max() <= 0.5


def test_random_input_of_a_fixed_batch() -> None:
    (batch,) = random_batches(findings(net(7)), options(latency_batch=2), 1)
    assert batch.feeds["x"].shape == (7, 3)
    assert batch.whole


def test_integers_and_booleans_are_fed_what_they_take() -> None:
    kinds = {"ids": (TensorProto.INT64, ["N", 4]), "mask": (TensorProto.BOOL, ["N", 4])}
    (batch,) = random_batches(findings(typed(kinds)), options(latency_batch=3), 1)
    assert {name: (value.dtype, value.shape) for name, value in batch.feeds.items()} == {
        "ids": (np.int64, (3, 4)),
        "mask": (np.bool_, (3, 4)),
    }


def test_strings_cannot_be_made_up() -> None:
    graph = helper.make_graph(
        [helper.make_node("Equal", ["s", "s"], ["y"])],
        "net",
        [helper.make_tensor_value_info("s", TensorProto.STRING, [2])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    found = findings(model)
    with pytest.raises(UnsupportedError, match=r"input s has type string.*--data"):
        list(random_batches(found, options(), 1))
    assert timing_feeds(found, options()) is None


def test_timing_takes_the_first_of_the_data() -> None:
    found = findings(net(), data={"x": numbered(20)})
    feeds = timing_feeds(found, options(latency_batch=4))
    assert feeds is not None
    assert feeds["x"][:, 0].tolist() == [1, 2, 3, 4]


def test_timing_fills_the_batch_a_model_insists_on() -> None:
    feeds = timing_feeds(findings(net(8), data={"x": numbered(5)}), options())
    assert feeds is not None
    assert feeds["x"][:, 0].tolist() == [1, 2, 3, 4, 5, 5, 5, 5]


def test_timing_without_data_is_on_random_numbers() -> None:
    feeds = timing_feeds(findings(net()), options(latency_batch=2))
    assert feeds is not None
    assert feeds["x"].shape == (2, 3)


def test_verification_data_are_those_that_calibration_never_saw() -> None:
    batches, name, disjoint = verification_batches(findings(net(), data={"x": numbered(23)}), options(batch=2))
    seen = [int(value) - 1 for batch in batches for value in batch.feeds["x"][:, 0]]
    assert (name, disjoint) == ("the given arrays", True)
    calibrating, verifying = parts(23)
    assert seen == verifying
    assert not set(seen) & set(calibrating)


def test_the_last_batch_of_a_fixed_size_is_filled_and_only_its_samples_count() -> None:
    batches = list(verification_batches(findings(net(4), data={"x": numbered(30)}), options())[0])
    assert [batch.feeds["x"].shape for batch in batches] == [(4, 3), (4, 3)]
    assert [batch.size for batch in batches] == [4, 2]
    assert len(set(batches[1].feeds["x"][1:, 0].tolist())) == 1
    assert not batches[1].whole


def test_labels_come_along_unfilled() -> None:
    data = {"x": numbered(30), "labels": np.arange(30) % 3}
    batches = list(verification_batches(findings(net(4), data=data), options())[0])
    labels = [batch.labels for batch in batches]
    assert [None if array is None else len(array) for array in labels] == [4, 2]


def test_a_limit_on_verification() -> None:
    found = findings(net(), data={"x": numbered(100)})
    assert sum(batch.size for batch in verification_batches(found, options(verify_limit=3))[0]) == 3
    assert sum(batch.size for batch in verification_batches(found, options(verify_limit=None))[0]) == 20


def test_a_single_sample_does_both_and_is_said_to() -> None:
    batches, name, disjoint = verification_batches(findings(net(), data={"x": numbered(1)}), options())
    assert [batch.size for batch in batches] == [1]
    assert (name, disjoint) == ("the given arrays (the calibration samples)", False)


def test_weights_that_a_caller_may_feed_are_left_alone() -> None:
    """A model that onnxruntime cannot load says what it takes by itself; its weights are not among it."""
    g = Builder(np.random.default_rng(0))
    weight = g.constant(np.ones(3, np.float32), home="input")
    model = g.model({"x": ["N", 3]}, [g.node("Add", "x", weight)])
    for node in model.graph.node:
        node.name = "same"
    model.graph.node.append(helper.make_node("Relu", ["x"], ["unused"], name="same"))
    (batch,) = random_batches(findings(model), options(), 1)
    assert list(batch.feeds) == ["x"]
