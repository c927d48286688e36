"""How good a model is, in points: with labels, or against the outputs of the model it came from.

Every metric gives one number per sample, so that drops can be compared sample by sample; a mean of 100 is
perfect and a drop of 1 is one point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.registry import Registry
from onnx_nepenthe.sources.python import imported, summary

Array = npt.NDArray[Any]
Scores = npt.NDArray[np.float64]
Metric = Callable[[list[Array], list[Array], Array | None], Scores]
"""(outputs, outputs of the reference, labels or None) → points per sample, float64 (samples,)."""
TEMPERATURES = np.geomspace(0.125, 8.0, 25)
ROUNDING = 1e-3
"""By which probabilities may miss a sum of 1."""
SMALLEST = 1e-12
_TAKES = "it is given (outputs, outputs of the input model, labels or None), and gives a number per sample"
METRICS: Registry[Metric] = Registry("metric")


@METRICS.register("top1")
def top1(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
    """100 where the best class is the label.

    Raises:
        UsageError: there are no labels, or no classes.
    """
    if labels is None:
        raise UsageError("the metric top1 needs labels; use --metric agreement, or give data with labels")
    _check_classes("top1", reference)
    return np.asarray(100.0 * (_classes(outputs) == labels.reshape(-1)), np.float64)


@METRICS.register("agreement")
def agreement(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
    """100 where the best class is that of the reference.

    Raises:
        UsageError: there are no classes.
    """
    _check_classes("agreement", reference)
    return np.asarray(100.0 * (_classes(outputs) == _classes(reference)), np.float64)


@METRICS.register("cosine")
def cosine(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
    """100 times the cosine between an output and that of the reference; of several outputs, the worst."""

    def one(a: Scores, b: Scores) -> Scores:
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return np.asarray(100.0 * np.divide((a * b).sum(axis=1), norms, out=np.ones(len(a)), where=norms > 0))

    return _worst(one, outputs, reference)


@METRICS.register("error")
def error(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
    """100 less the distance to the reference's output in per cent of its length; of several outputs, the worst."""

    def one(a: Scores, b: Scores) -> Scores:
        return _less_share(np.linalg.norm(a - b, axis=1), np.linalg.norm(b, axis=1))

    return _worst(one, outputs, reference)


@METRICS.register("max-error")
def max_error(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
    """100 less the largest difference in per cent of the reference's largest magnitude; of several, the worst."""

    def one(a: Scores, b: Scores) -> Scores:
        return _less_share(np.abs(a - b).max(axis=1, initial=0.0), np.abs(b).max(axis=1, initial=0.0))

    return _worst(one, outputs, reference)


@METRICS.register("kl")
def kl(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
    """100 less 100 times the Kullback-Leibler divergence (nats) of the class probabilities from the reference's.

    Raises:
        UsageError: there are no classes.
    """
    _check_classes("kl", reference)
    p, q = log_probabilities(reference), log_probabilities(outputs)
    return np.asarray(100.0 - 100.0 * (np.exp(p) * (p - q)).sum(axis=1), np.float64)


def default_metric(outputs: list[Array], labels: Array | None) -> str:
    """top1 with labels, agreement for a lone output of class scores, error for anything else."""
    if _has_classes(outputs) and labels is not None and labels.size == len(outputs[0]):
        return "top1"
    return "agreement" if _has_classes(outputs) and len(outputs) == 1 else "error"


def metric_of(name: str) -> Metric:
    """The metric called `name`; "package.module:callable" is imported, which runs its code.

    Raises:
        UsageError: there is none of that name, or it cannot be imported.
    """
    if ":" in name:
        return _checked(name, imported(name))
    found = METRICS.get(name)
    if found is None:
        raise UsageError(
            f"no metric is called {name!r}; there are {', '.join(METRICS)}, or give package.module:callable"
        )
    return found


def _checked(name: str, metric: Metric) -> Metric:
    """The user's metric, which has to give one finite number per sample."""

    def scores(outputs: list[Array], reference: list[Array], labels: Array | None) -> Scores:
        try:
            points = np.asarray(metric(outputs, reference, labels), np.float64).reshape(-1)
        except Exception as error:
            raise UsageError(f"the metric {name} raised {summary(error)}; {_TAKES}") from error
        if len(points) != len(outputs[0]) or not np.isfinite(points).all():
            raise UsageError(
                f"the metric {name} gave {points.size} numbers for {len(outputs[0])} samples; one finite each"
            )
        return points

    return scores


def paired_drop(before: Scores, after: Scores, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean drop in points with its 95 % interval, by bootstrap over the samples (paired)."""
    drops = before - after
    picks = rng.integers(0, len(drops), size=(2000, len(drops)))
    low, high = np.quantile(drops[picks].mean(axis=1), (0.025, 0.975))
    return float(drops.mean()), float(low), float(high)


def _has_classes(outputs: list[Array]) -> bool:
    """Whether the first output is (samples, two classes or more), with or without axes of size 1 behind."""
    shape = outputs[0].shape
    return len(shape) >= 2 and shape[1] > 1 and all(size == 1 for size in shape[2:])


def _check_classes(name: str, outputs: list[Array]) -> None:
    if not _has_classes(outputs):
        shape = "x".join(map(str, outputs[0].shape[1:])) or "1"
        raise UsageError(
            f"the metric {name} compares classes, and the model's first output has none (a number per class is needed, "
            f"and a sample has {shape}); use --metric error, cosine or max-error"
        )


def _classes(outputs: list[Array]) -> Array:
    scores = outputs[0]
    best: Array = scores.reshape(len(scores), -1).argmax(axis=1)
    return best


def _worst(one: Callable[[Scores, Scores], Scores], outputs: list[Array], reference: list[Array]) -> Scores:
    """Of each sample what the worst output has: joined, outputs of small numbers (scores) would hide behind boxes.

    What are no numbers, and what has another shape than that of the reference (as many boxes), is equal or nothing.
    """

    def points(a: Array, b: Array) -> Scores:
        if a.shape != b.shape or a.dtype.kind not in "fiub":
            return np.array([100.0 * np.array_equal(x, y) for x, y in zip(a, b, strict=True)])
        return one(_rows(a), _rows(b))

    return np.asarray(np.min([points(a, b) for a, b in zip(outputs, reference, strict=True)], axis=0), np.float64)


def _less_share(distance: Scores, size: Scores) -> Scores:
    """100 less `distance` in per cent of `size`, not below 0; 100 where there is nothing to be far from."""
    share = np.divide(distance, size, out=np.zeros(len(size)), where=size > 0)
    return np.asarray(100.0 - np.clip(100.0 * share, 0.0, 100.0), np.float64)


def _rows(output: Array) -> Scores:
    return np.asarray(output, np.float64).reshape(len(output), -1)


def log_probabilities(outputs: list[Array]) -> npt.NDArray[np.float64]:
    """Of the classes, (samples, classes): from scores, or from what is probabilities already.

    >>> np.exp(log_probabilities([np.array([[0.25, 0.75]])])).tolist()
    [[0.25, 0.75]]
    >>> np.exp(log_probabilities([np.array([[0.0, 0.0]])])).tolist()
    [[0.5, 0.5]]
    """
    rows = _rows(outputs[0])
    if rows.size and (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=ROUNDING):
        return np.asarray(np.log(rows.clip(SMALLEST)), np.float64)
    return _log_softmax(rows)


def temperature_of(scores: npt.NDArray[np.float64], labels: Array) -> float:
    """What to divide log probabilities (samples, classes) by, so that they fit the labels best.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017).
    """
    at = (np.arange(len(scores)), labels.reshape(-1).astype(np.int64))
    losses = [-_log_softmax(scores / temperature)[at].mean() for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def expected_loss(outputs: list[Array], reference: list[Array], temperature: float) -> Scores:
    """Points of top1 that are to be expected to be lost, per sample: where classes differ, by how likely each is.

    Likely to the reference, calibrated by `temperature`. Its mean is that of the points lost if what a model does
    differently is no better informed; it has a fraction of their variance, as no luck with labels is in it.
    """
    likely = np.exp(_log_softmax(log_probabilities(reference) / temperature))
    rows = np.arange(len(likely))
    return np.asarray(100.0 * (likely[rows, _classes(reference)] - likely[rows, _classes(outputs)]), np.float64)


def _log_softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    normal: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normal
