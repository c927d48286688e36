"""Losses are against the original, on the right part of the data, however it is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from onnx_nepenthe import judging
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.judging import Judge
from onnx_nepenthe.sweeping import Care, sweep
from onnx_nepenthe.workshop import Workshop
from tests.helpers.shops import data, residual_network, shop_of, substitute


@pytest.fixture(scope="module")
def shop() -> Workshop:
    return shop_of(residual_network(1), metric="")


def test_the_original_loses_nothing(shop: Workshop) -> None:
    shop.original_scores("tuning")
    assert shop.metric == "agreement"
    loss = shop.judge.loss(shop.findings.model)
    assert (loss.drop, loss.error) == (0.0, 0.0)
    assert loss.distance == pytest.approx(0.0, abs=1e-9)


def test_data_that_are_not_kept_are_read_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sweep(shop, [substitute(shop, "stem", "sum0", "conv1")], shop.tape("fitting", 20), Care(8.0))
    model = shop.build(made)
    before = shop.judge.loss(model)
    monkeypatch.setattr(judging, "KEPT_BYTES", 5000)
    judge = Judge(shop.findings, replace(shop.options, batch=16))
    judge.original_scores("tuning")
    assert all(not known.feeds for known in judge.known("tuning"))
    again = judge.loss(model)
    assert again.drop == pytest.approx(before.drop)
    assert again.distance == pytest.approx(before.distance, rel=1e-4)


def test_a_limit_takes_the_first_batches(shop: Workshop) -> None:
    judge = Judge(shop.findings, replace(shop.options, batch=16))
    judge.original_scores("tuning")
    assert [known.size for known in judge.batches("tuning", 20)] == [16, 16]
    everything = np.concatenate([known.outputs[0] for known in judge.known("tuning")])
    assert len(everything) == 120


def test_loss_behind_a_value_is_that_of_the_whole_model(shop: Workshop) -> None:
    shop.original_scores("tuning")
    made = sweep(shop, [substitute(shop, "stem", "sum0", "conv1")], shop.tape("fitting", 20), Care(8.0))
    tape = shop.tape("tuning", None)
    assert tape.advance("stem", ())
    behind, whole = shop.loss_behind(tape, made), shop.judge.loss(shop.build(made))
    assert behind.drop == pytest.approx(whole.drop)
    assert behind.distance == pytest.approx(whole.distance, rel=1e-4)


def test_a_price_has_a_limit_of_its_own(shop: Workshop) -> None:
    judge = Judge(shop.findings, replace(shop.options, price_limit=7, verify_limit=3, tune_limit=5))
    assert len(judge.original_scores("verification")) == 7
    assert len(judge.original_scores("tuning")) == 5


def test_a_part_without_samples_is_said() -> None:
    shop = shop_of(residual_network(1), data=data(1))
    with pytest.raises(UsageError, match="too few samples for a verification part"):
        shop.original_scores("verification")


def test_outputs_that_do_not_tell_samples_apart_are_refused_and_one_by_one_they_do() -> None:
    boxes = np.zeros((320, 4))
    with pytest.raises(UsageError, match=r"its shape is \(320, 4\) for a batch of 32; give --batch 1"):
        judging.by_sample([np.zeros((32, 2)), boxes], 32, 32)
    assert judging.by_sample([boxes], 1, 1)[0].shape == (1, 320, 4)
    assert [a.shape for a in judging.by_sample([np.zeros((32, 2))], 3, 32)] == [(3, 2)]


def flat(model: onnx.ModelProto) -> onnx.ModelProto:
    """Its output as a table of pairs, those of all samples one below the other, as detectors give boxes."""
    (output,) = model.graph.output
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 2]), "pairs"))
    model.graph.node.append(onnx.helper.make_node("Reshape", [output.name, "pairs"], ["boxes"]))
    output.CopyFrom(onnx.helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, ["K", 2]))
    return model


def test_a_model_whose_outputs_mix_the_samples_is_judged_one_by_one() -> None:
    model = flat(residual_network(1))
    with pytest.raises(UsageError, match="give --batch 1"):
        shop_of(model, data=data(30)).original_scores("tuning")
    shop = shop_of(model, data=data(30), batch=1, metric="")
    assert shop.original_scores("tuning").tolist() == [100.0] * len(shop.judge.known("tuning"))
    assert shop.metric == "error"
    tape = shop.tape("tuning", None)
    assert tape.advance("stem", ())
    assert shop.loss_behind(tape, []).drop == pytest.approx(0.0, abs=1e-3)
