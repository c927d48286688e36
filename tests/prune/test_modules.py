from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, SpatialMean, evaluate, identity  # noqa: E402
from onnx_nepenthe.prune.modules import map_of, module_of, module_refusal, multiply_adds  # noqa: E402

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(4, 3, 3, 3)), RNG.normal(size=4)
ONES, ZEROS = (1, 1), (0, 0)


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 3, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


MODULES = [
    (nn.Conv1d(3, 4, 3, 2, 1), image(2, 3, 6)),
    (nn.Conv2d(3, 6, (3, 5), (2, 1), (1, 2), (1, 2), groups=3, bias=False), image(2, 3, 12, 12)),
    (nn.Conv3d(3, 2, 2), image(2, 3, 4, 4, 4)),
    (nn.Linear(7, 4), image()),
    (nn.Linear(7, 4, bias=False), image(2, 7)),
    (nn.BatchNorm2d(3), image()),
    (nn.BatchNorm1d(3, affine=False, eps=0.1), image(2, 3, 6)),
    (nn.BatchNorm1d(7), image(2, 7)),
    (nn.Dropout(), image()),
    (nn.Identity(), image()),
]


@pytest.mark.parametrize(("module", "x"), MODULES, ids=lambda value: type(value).__name__)
def test_a_module_is_its_map_and_the_map_a_module(module: nn.Module, x: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = module.double().train()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
        module(x)
        expected = module.eval()(x)
        m = map_of(module, x.dim())
        assert m is not None
        np.testing.assert_allclose(evaluate(m, x.numpy()), expected.numpy(), atol=1e-12)
        assert module_refusal(m, x.dim()) is None
        torch.testing.assert_close(module_of(m, x)(x), expected)


@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.LayerNorm(7),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.ConvTranspose2d(3, 4, 3),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_modules_have_no_map(module: nn.Module) -> None:
    assert map_of(module, 4) is None


def test_a_convolution_of_something_without_a_batch_has_none() -> None:
    assert map_of(nn.Conv2d(3, 4, 3), 3) is None


@pytest.mark.parametrize(
    ("m", "reason"),
    [
        (Conv(WEIGHT, BIAS, ONES, ONES, ONES, ONES, border=WEIGHT[:, 0]), "near the edges"),
        (Conv(WEIGHT, BIAS, ONES, ONES, ONES, ZEROS), "pad both sides alike"),
        (Dense(1, BIAS[:, None], BIAS), "the last axis"),
        (SpatialMean(identity()), "mean over space"),
    ],
    ids=["border", "one side", "axis", "mean"],
)
def test_maps_that_are_no_single_module(m: AffineMap, reason: str) -> None:
    refusal = module_refusal(m, 4)
    assert refusal is not None
    assert reason in refusal.reason


def test_multiply_adds() -> None:
    assert multiply_adds(Conv(WEIGHT, BIAS, (2, 1), ONES, ONES, ZEROS), (2, 3, 6, 7)) == 2 * (3 * 6) * WEIGHT.size
    assert multiply_adds(Dense(2, np.ones((4, 5)), BIAS), (2, 3, 5)) == 2 * 3 * 5 * 4
    assert multiply_adds(identity(), (2, 3, 5)) == 0
