from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.prune.calls import Clamp, activation_of, call_of_module  # noqa: E402
from onnx_nepenthe.prune.lines import line_of, nearest_identity  # noqa: E402
from onnx_nepenthe.prune.records import Site, SiteStatistics  # noqa: E402
from onnx_nepenthe.prune.rectifier import Rectifier  # noqa: E402
from onnx_nepenthe.regimes import RegimeCounts  # noqa: E402
from onnx_nepenthe.sums import LineSums  # noqa: E402

Z = np.array([[1.0, -1.0, -1.0, 2.0], [2.0, -2.0, 1.0, -1.0], [3.0, -4.0, 3.0, -4.0]])
"""(observations, channels): always on, always off, and two that change."""


def make(function: nn.Module, channels: int = 4) -> Rectifier:
    activation = activation_of(function, (3, channels))
    call = call_of_module(function)
    assert call is not None
    return Rectifier(Site("act", "act", call.op, activation, 1, channels), function, torch.zeros(3, channels))


def observe(rectifier: Rectifier, z: np.ndarray, *, sums: bool = True) -> SiteStatistics:
    knots = [float(knot) for knot in rectifier.activation.knots]
    pieces = np.searchsorted(knots, z)
    counts = np.stack([(pieces == piece).sum(0) for piece in range(rectifier.activation.regimes)])
    ties = np.stack([(z == knot).sum(0) for knot in knots]) if knots else np.zeros((0, z.shape[1]), np.int64)
    y = rectifier(torch.as_tensor(z, dtype=torch.float32)).detach().double().numpy()
    line = LineSums(np.full(z.shape[1], len(z)), *(part.sum(0) for part in (z, z * z, y, y * y, z * y)))
    return SiteStatistics(RegimeCounts(counts, ties, z.min(0), z.max(0)), sums=line if sums else None, samples=len(z))


def test_a_channel_in_one_piece_takes_its_line_and_the_others_the_fitted_one() -> None:
    rectifier = make(nn.ReLU())
    slope, intercept = line_of(rectifier, observe(rectifier, Z))
    assert slope[:2].tolist() == [1.0, 0.0]
    assert intercept[:2].tolist() == [0.0, 0.0]
    for channel in (2, 3):
        expected = np.polyfit(Z[:, channel], np.maximum(Z[:, channel], 0), 1)
        np.testing.assert_allclose([slope[channel], intercept[channel]], expected)


def test_behind_a_skip_the_fitted_line_has_slope_one_and_keeps_it_in_training() -> None:
    rectifier = make(nn.ReLU())
    rectifier.site = replace(rectifier.site, is_sum=True)
    slope, intercept = line_of(rectifier, observe(rectifier, Z))
    assert slope.tolist() == [1.0, 0.0, 1.0, 1.0]
    np.testing.assert_allclose(intercept[2:], (np.maximum(Z, 0) - Z).mean(0)[2:])
    rectifier.set_line(slope, intercept)
    assert not rectifier.slope.requires_grad
    assert rectifier.intercept.requires_grad


@pytest.mark.parametrize("has_sums", [True, False])
def test_the_identity_where_a_channel_changes(has_sums: bool) -> None:
    rectifier = make(nn.ReLU())
    slope, intercept = line_of(rectifier, observe(rectifier, Z, sums=has_sums), "identity")
    assert (slope.tolist(), intercept.tolist()) == ([1.0, 0.0, 1.0, 1.0], [0.0] * 4)


def test_without_sums_there_is_nothing_to_fit_to() -> None:
    rectifier = make(nn.ReLU())
    assert line_of(rectifier, observe(rectifier, Z, sums=False))[0].tolist() == [1.0, 0.0, 1.0, 1.0]


def test_without_statistics_it_is_the_identity() -> None:
    assert line_of(make(nn.LeakyReLU()), None)[0].tolist() == [1.0] * 4


def test_a_curved_piece_and_a_tail_that_is_a_line_only_in_the_limit_are_fitted() -> None:
    rectifier, z = make(nn.GELU()), np.array([[6.0, -6.0, 0.5, 0.1], [7.0, -7.0, 1.0, -0.1], [9.0, -8.0, 2.0, 0.3]])
    slope, intercept = line_of(rectifier, observe(rectifier, z))
    y = rectifier(torch.as_tensor(z)).detach().numpy()
    for channel in range(4):
        expected = np.polyfit(z[:, channel], y[:, channel], 1)
        np.testing.assert_allclose([slope[channel], intercept[channel]], expected, atol=1e-5)


def test_slopes_that_were_trained_count() -> None:
    rectifier = make(nn.PReLU(4))
    with torch.no_grad():
        rectifier.function.weight.copy_(torch.tensor([0.5, 0.75, 0.5, 0.5]))
    assert line_of(rectifier, observe(rectifier, Z))[0][:2].tolist() == [1.0, 0.75]


def test_a_fold_is_fitted_as_the_mixture_it_is() -> None:
    rectifier = make(nn.ReLU())
    rectifier.set_fold(0.5)
    slope, intercept = line_of(rectifier, observe(rectifier, Z))
    np.testing.assert_allclose(slope[:2], [1.0, 0.5])
    np.testing.assert_allclose(intercept[:2], [0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (nn.ReLU6(), (1.0, 0.0)),
        (nn.GELU(), (1.0, 0.0)),
        (nn.LeakyReLU(2.0), (1.0, 0.0)),
        (nn.Hardsigmoid(), (1 / 6, 0.5)),
        (nn.SELU(), (1.0507009873554805, 0.0)),
        (Clamp(0.5, 0.5), (1.0, 0.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_line_nearest_to_the_identity(function: nn.Module, expected: tuple[float, float]) -> None:
    slope, intercept = nearest_identity(activation_of(function, (3, 2)), 2)
    np.testing.assert_allclose([slope, intercept], np.repeat([expected], 2, 0).T)
