from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.errors import UnsupportedError  # noqa: E402
from onnx_nepenthe.prune.calls import CALLS, Clamp, activation_of, call_of_module  # noqa: E402
from onnx_nepenthe.prune.sites import find_sites  # noqa: E402

SHAPE = (2, 3, 4, 4)
# One row per entry of the registry: a module with parameters that are not the defaults.
MODULES: dict[str, nn.Module] = {
    "ReLU": nn.ReLU(),
    "ReLU6": nn.ReLU6(),
    "Hardtanh": nn.Hardtanh(-0.5, 1.5),
    "Clamp": Clamp(-0.25, 0.75),
    "LeakyReLU": nn.LeakyReLU(0.2),
    "PReLU": nn.PReLU(3, 0.3),
    "GELU": nn.GELU("tanh"),
    "SiLU": nn.SiLU(),
    "Hardswish": nn.Hardswish(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "ELU": nn.ELU(1.5),
    "CELU": nn.CELU(0.7),
    "SELU": nn.SELU(),
    "Softplus": nn.Softplus(2.0, 5.0),
    "Mish": nn.Mish(),
    "Threshold": nn.Threshold(0.3, -0.1),
}
ARGUMENTS: dict[str, Any] = {
    **{"negative_slope": 0.2, "min_val": -0.5, "max_val": 1.5, "alpha": 0.7, "approximate": "tanh"},
    **{"min": -0.2, "max": 0.6, "beta": 2.0, "threshold": 0.3, "value": -0.1},
}
KEYWORD_ONLY = {"approximate"}


class Calls(nn.Module):
    """A convolution and one call, by whatever name."""

    def __init__(self, call: Any, arguments: tuple[str, ...], by_name: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.weight = nn.Parameter(torch.tensor([0.1, 0.2, -0.3]))
        self.call = call
        names = [name for name in arguments if name != "inplace"]
        self.named = [name for name in names if by_name or name in KEYWORD_ONLY]
        self.placed = [name for name in names if name not in self.named]

    def given(self, name: str) -> Any:
        return self.weight if name == "weight" else ARGUMENTS[name]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        args, kwargs = [self.given(name) for name in self.placed], {name: self.given(name) for name in self.named}
        z = self.conv(x)
        y = getattr(z, self.call)(*args, **kwargs) if isinstance(self.call, str) else self.call(z, *args, **kwargs)
        return y + 1


def spellings() -> list[Any]:
    rows = []
    for name in CALLS:
        for call, arguments in [*CALLS[name].functions.items(), *CALLS[name].methods.items()]:
            spelt = call if isinstance(call, str) else call.__name__
            rows += [pytest.param(name, call, arguments, by_name, id=f"{spelt}-{by_name}") for by_name in (False, True)]
    return rows


def grid(low: float = -30, high: float = 30) -> torch.Tensor:
    return torch.linspace(low, high, 2 * 3 * 4 * 4 * 64, dtype=torch.float64).reshape(128, 3, 4, 4)


def test_every_entry_has_a_row() -> None:
    assert set(MODULES) == set(CALLS)


@pytest.mark.parametrize("name", MODULES)
def test_knots_and_lines_are_those_of_the_module(name: str) -> None:
    module, z = MODULES[name].double(), grid()
    activation = activation_of(module, SHAPE)
    y = module(z).detach().numpy()
    values = z.numpy()
    knots = [np.broadcast_to(np.asarray(knot), ()).item() for knot in activation.knots]
    pieces = np.searchsorted(knots, values)
    assert set(np.unique(pieces)) == set(range(activation.regimes))
    for piece in range(activation.regimes):
        if activation.lines[piece] is None:
            continue
        slope, intercept = (part.reshape(-1, 1, 1) for part in activation.line(piece, 3))
        inside = pieces == piece
        error = np.abs(y - (slope * values + intercept))[inside] / np.maximum(1, np.abs(values[inside]))
        assert error.max() <= (1e-15 if activation.is_exact(piece) else 2.0**-24 * 1.01)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_known_by_its_class(name: str) -> None:
    assert call_of_module(MODULES[name]) is CALLS[name]


@pytest.mark.parametrize(("name", "call", "arguments", "by_name"), spellings())
def test_every_spelling_is_one_site(name: str, call: Any, arguments: tuple[str, ...], by_name: bool) -> None:
    torch.manual_seed(0)
    network, x = Calls(call, arguments, by_name), torch.randn(SHAPE)
    traced, sites = find_sites(network, x)
    assert [site.op for site in sites] == [CALLS[name].op]
    assert sites[0].feeder == "conv"
    assert torch.equal(traced(x), network(x))


def test_slopes_that_are_trained_are_read_anew() -> None:
    module = nn.PReLU(3)
    before = activation_of(module, SHAPE)
    with torch.no_grad():
        module.weight[1] = 0.5
    after = activation_of(module, SHAPE)
    assert before.line(0, 3)[0].tolist() == [0.25] * 3
    assert after.line(0, 3)[0].tolist() == [0.25, 0.5, 0.25]
    assert after.axis == 1


def test_a_subclass_may_compute_something_else() -> None:
    class Louder(nn.ReLU):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    assert call_of_module(Louder()) is None


@pytest.mark.parametrize(
    ("module", "reason"),
    [(nn.Tanh(), "Tanh is not an activation with knots and lines"), (nn.CELU(-1.0), "CELU: alpha is -1")],
)
def test_what_has_no_knots_and_lines_is_refused(module: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        activation_of(module, SHAPE)
