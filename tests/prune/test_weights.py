from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from onnx_nepenthe.prune.weights import as_matrix, from_matrix, is_weighted, matrix_of, out_channels  # noqa: E402

LAYERS = [
    nn.Linear(5, 4),
    nn.Conv1d(6, 4, 3, groups=2),
    nn.Conv2d(3, 4, (2, 3)),
    nn.Conv3d(2, 4, 2),
    nn.ConvTranspose1d(6, 4, 3),
    nn.ConvTranspose2d(6, 4, (2, 3), groups=2),
    nn.ConvTranspose3d(2, 4, 2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_row_is_what_makes_one_channel(layer: nn.Module) -> None:
    torch.manual_seed(0)
    matrix = as_matrix(layer, layer.weight)
    assert out_channels(layer) == len(matrix) == 4
    assert torch.equal(from_matrix(layer, matrix), layer.weight)
    rank = layer.weight.dim()
    x = torch.randn(2, 5) if rank == 2 else torch.randn(2, layer.in_channels, *(4,) * (rank - 2))
    before = layer(x)
    pruned = matrix.clone()
    pruned[1] = 0
    layer.weight.data = from_matrix(layer, pruned).clone()
    changed = (layer(x) - before).abs().transpose(0, 1).flatten(1).amax(1) > 0
    assert changed.tolist() == [False, True, False, False]


def test_numbers_are_a_copy() -> None:
    layer = nn.Linear(2, 2)
    numbers = matrix_of(layer)
    numbers[:] = 7
    assert numbers.dtype == "float64"
    assert not (layer.weight == 7).any()


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(nn.Linear(2, 2), True), (nn.BatchNorm2d(2), False), (parametrizations.weight_norm(nn.Linear(2, 2)), False)],
)
def test_only_plain_weights_can_be_masked(layer: nn.Module, expected: bool) -> None:
    assert is_weighted(layer) is expected
