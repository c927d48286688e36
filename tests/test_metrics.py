"""Metrics in points per sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.metrics import (
    METRICS,
    default_metric,
    expected_loss,
    log_probabilities,
    metric_of,
    paired_drop,
    temperature_of,
)

SCORES = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_model_against_itself_is_perfect(name: str) -> None:
    points = METRICS[name]([SCORES], [SCORES], np.array([0, 1]))
    np.testing.assert_allclose(points, [100.0, 100.0], atol=1e-9)


def test_top1_counts_labels_and_agreement_the_reference() -> None:
    other = SCORES[:, ::-1]
    assert METRICS["top1"]([other], [SCORES], np.array([2, 1])).tolist() == [100.0, 100.0]
    assert METRICS["agreement"]([other], [SCORES], None).tolist() == [0.0, 100.0]


def test_top1_without_labels_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="needs labels"):
        METRICS["top1"]([SCORES], [SCORES], None)


@pytest.mark.parametrize("shape", [(2, 1), (2,), (2, 3, 4, 4), (2, 1, 3)])
@pytest.mark.parametrize("name", ["top1", "agreement", "kl"])
def test_classes_are_compared_only_where_there_are_any(name: str, shape: tuple[int, ...]) -> None:
    """One number a sample has the same best class whatever it is: every model would be perfect."""
    outputs = [np.ones(shape)]
    with pytest.raises(UsageError, match=f"the metric {name} compares classes, .*; use --metric error"):
        METRICS[name](outputs, outputs, np.array([0, 0]))
    assert default_metric(outputs, np.array([0, 0])) == "error"


def test_error_is_relative_distance() -> None:
    assert METRICS["error"]([SCORES * 1.1], [SCORES], None) == pytest.approx([90.0, 90.0])
    assert METRICS["max-error"]([SCORES * 1.1], [SCORES], None) == pytest.approx([90.0, 90.0])
    assert METRICS["cosine"]([SCORES * 1.1], [SCORES], None) == pytest.approx([100.0, 100.0])


@pytest.mark.parametrize("name", ["error", "max-error", "cosine"])
def test_of_several_outputs_the_worst_counts(name: str) -> None:
    """Boxes in pixels beside scores of 0 to 1: scores that are all wrong are not hidden."""
    boxes, scores = np.array([[100.0, 300.0], [50.0, 80.0]]), np.array([[0.1, 0.9], [0.2, 0.8]])
    alone = METRICS[name]([scores[:, ::-1]], [scores], None)
    both = METRICS[name]([boxes, scores[:, ::-1]], [boxes, scores], None)
    assert both.tolist() == alone.tolist()
    assert (both < 60).all()


def test_what_is_no_number_or_has_another_shape_is_equal_or_nothing() -> None:
    words, boxes = np.array(["cat", "dog"], object), np.ones((2, 3, 4))
    assert METRICS["error"]([words, boxes], [words, boxes], None).tolist() == [100.0, 100.0]
    assert METRICS["error"]([np.array(["cat", "cow"], object)], [words], None).tolist() == [100.0, 0.0]
    assert METRICS["error"]([boxes[:, :2]], [boxes], None).tolist() == [0.0, 0.0]


def test_kl_by_hand() -> None:
    p, q = np.array([[np.log(0.5), np.log(0.5)]]), np.array([[np.log(0.25), np.log(0.75)]])
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert METRICS["kl"]([q], [p], None) == pytest.approx([100.0 - 100.0 * expected])


def test_default_metric_follows_outputs_and_labels() -> None:
    assert default_metric([SCORES], np.array([0, 1])) == "top1"
    assert default_metric([SCORES], None) == "agreement"
    assert default_metric([np.zeros((2, 3, 8, 8))], None) == "error"
    assert default_metric([SCORES, SCORES], np.array([0, 1])) == "top1"
    assert default_metric([SCORES, SCORES], None) == "error"


def test_paired_drop_has_its_interval_around_the_mean() -> None:
    rng = np.random.default_rng(0)
    before = np.full(500, 100.0)
    after = np.where(np.arange(500) % 50 == 0, 0.0, 100.0)
    drop, low, high = paired_drop(before, after, rng)
    assert drop == pytest.approx(2.0)
    assert 0.5 < low < 2.0 < high < 4.0


def test_a_metric_of_the_users_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metric.py").write_text(
        "def half(outputs, reference, labels):\n    return [50.0] * len(outputs[0])\n"
        "def one(outputs, reference, labels):\n    return 1.0\n"
        "def nan(outputs, reference, labels):\n    return [float('nan')] * len(outputs[0])\n"
        "def few(outputs):\n    return [0.0] * len(outputs[0])\n"
        "def words(outputs, reference, labels):\n    return ['good'] * len(outputs[0])\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    assert metric_of("own_metric:half")([SCORES], [SCORES], None).tolist() == [50.0, 50.0]
    with pytest.raises(UsageError, match="1 numbers for 2 samples"):
        metric_of("own_metric:one")([SCORES], [SCORES], None)
    with pytest.raises(UsageError, match="one finite each"):
        metric_of("own_metric:nan")([SCORES], [SCORES], None)
    with pytest.raises(
        UsageError, match=r"own_metric:few raised TypeError: few\(\) takes 1 .*; it is given \(outputs,"
    ):
        metric_of("own_metric:few")([SCORES], [SCORES], None)
    with pytest.raises(UsageError, match=r"own_metric:words raised ValueError: .*gives a number per sample"):
        metric_of("own_metric:words")([SCORES], [SCORES], None)


@pytest.mark.parametrize(("name", "message"), [("bleu", "there are top1"), ("no_such_module:f", "no_such_module")])
def test_an_unknown_metric_is_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metric_of(name)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_divergence_of_probabilities_is_that_of_their_scores() -> None:
    other = SCORES[::-1]
    of_scores = METRICS["kl"]([other], [SCORES], None)
    of_probabilities = METRICS["kl"]([softmax(other)], [softmax(SCORES)], None)
    np.testing.assert_allclose(of_probabilities, of_scores, atol=1e-6)
    assert np.isfinite(log_probabilities([np.array([[1.0, 0.0]])])).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    scores = 3 * rng.standard_normal((4000, 5))
    chances = softmax(scores / temperature)
    labels = (chances.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    assert temperature_of(log_probabilities([scores]), labels) == pytest.approx(temperature, rel=0.2)


def test_expected_points_are_those_lost_on_average_with_less_luck() -> None:
    rng = np.random.default_rng(0)
    scores = 2 * rng.standard_normal((20_000, 5))
    labels = (softmax(scores).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    other = scores + 0.3 * rng.standard_normal(scores.shape)
    lost = METRICS["top1"]([scores], [scores], labels) - METRICS["top1"]([other], [scores], labels)
    expected = expected_loss([other], [scores], 1.0)
    assert expected.mean() == pytest.approx(lost.mean(), abs=3 * lost.std() / np.sqrt(lost.size))
    assert expected.std() < 0.6 * lost.std()
    assert (expected >= 0).all()
