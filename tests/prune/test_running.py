from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import fx, nn  # noqa: E402

from onnx_nepenthe.errors import UnsupportedError  # noqa: E402
from onnx_nepenthe.prune.running import check_agrees, evaluate, placed, spread_shapes  # noqa: E402


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, object]]:
        return x.relu_(), {"noise": torch.rand(3), "training": self.training}


def test_evaluating_changes_neither_inputs_nor_modes_nor_chance() -> None:
    network, x = Noisy(), -torch.ones(2)
    state = torch.get_rng_state()
    first, second = evaluate(network, (x,)), evaluate(network, (x,))
    assert torch.equal(x, -torch.ones(2))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert [value.tolist() for value in first] == [value.tolist() for value in second]
    assert len(first) == 2


def test_a_network_that_fails_on_the_example_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match=r"cannot be run on the example of shape \(2, 5\): mat1 and mat2"):
        evaluate(nn.Linear(4, 4), (torch.randn(2, 5),))


@pytest.mark.parametrize(
    ("dtype", "given", "mend"),
    [
        (torch.float64, "float64", r"x\.to\(torch\.float32\)$"),
        (torch.uint8, "uint8", r"x\.to\(torch\.float32\), and scale them \(pixels: x / 255\)$"),
        (torch.int64, "int64", r"x\.to\(torch\.float32\), and scale them"),
    ],
)
def test_an_input_of_another_type_than_the_weights_is_named(dtype: torch.dtype, given: str, mend: str) -> None:
    words = rf"input 'input' is {given} and the weights are float32: convert the data, {mend}"
    with pytest.raises(UnsupportedError, match=words) as caught:
        evaluate(nn.Linear(4, 4), (torch.ones(2, 4).to(dtype),))
    assert "\n" not in str(caught.value)


def test_an_input_of_another_type_that_the_network_takes_is_fine() -> None:
    assert evaluate(nn.Embedding(4, 3), (torch.tensor([[1, 2]]),))[0].shape == (1, 2, 3)
    assert evaluate(nn.Linear(4, 4).double(), (torch.ones(2, 4).double(),))[0].dtype == torch.float64


def test_a_trace_that_cannot_be_run_is_an_error() -> None:
    traced = fx.symbolic_trace(nn.Linear(4, 4))
    with pytest.raises(UnsupportedError, match="cannot be followed"):
        spread_shapes(traced, (torch.randn(2, 5),))


@pytest.mark.parametrize(
    "found",
    [[], [torch.ones(3)], [torch.tensor([1.0, 2.0])], [torch.tensor([1.0, float("nan")])]],
    ids=["fewer", "shape", "numbers", "nan"],
)
def test_another_result_is_an_error(found: list[torch.Tensor]) -> None:
    with pytest.raises(UnsupportedError, match="cannot be followed"):
        check_agrees([torch.ones(2)], found)


def test_rounding_and_equal_nans_are_no_difference() -> None:
    check_agrees([torch.tensor([1.0, 0.0, float("nan")])], [torch.tensor([1.0, 1e-6, float("nan")])])
    check_agrees([torch.ones(0)], [torch.ones(0)])


def test_inputs_go_where_the_parameters_are() -> None:
    assert [x.device.type for x in placed(torch.ones(2), nn.Linear(2, 2, device="meta"))] == ["meta"]
    assert [x.device.type for x in placed((torch.ones(2), torch.ones(2)), nn.ReLU())] == ["cpu", "cpu"]
