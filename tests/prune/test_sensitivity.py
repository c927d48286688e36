"""What the loss becomes when one site alone becomes a line."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.prune.records import Proposal  # noqa: E402
from onnx_nepenthe.prune.sensitivity import as_line, sensitivities  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.tap import measure  # noqa: E402


def subject() -> Subject:
    torch.manual_seed(0)
    parts = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 1)]
    return Subject.of(nn.Sequential(*parts), torch.zeros(2, 3))


def test_each_is_the_loss_with_that_site_as_its_fitted_line() -> None:
    own, x = subject(), torch.randn(200, 3)
    statistics = measure(own, [(x, None)])
    before = {name: value.clone() for name, value in own.module.state_dict().items()}
    y = own.module(x).detach()

    def loss() -> float:
        return float((own.module(x) - y).square().mean().detach())

    found = sensitivities(own, statistics, loss)
    assert set(found) == {site.name for site in own.sites}
    for name, change in found.items():
        alone = subject()
        alone.apply(Proposal(linear=(name,)), statistics)
        assert change == pytest.approx(float((alone.module(x) - y).square().mean().detach()))
        assert change > 0
    after = own.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert loss() == 0


def test_what_is_a_line_already_is_not_tried() -> None:
    own = subject()
    first, second = (site.name for site in own.sites)
    statistics = measure(own, [(torch.randn(20, 3), None)])
    own.apply(Proposal(linear=(first,)), statistics)
    assert set(sensitivities(own, statistics, lambda: 0.0)) == {second}


def test_a_site_is_itself_again_when_something_fails() -> None:
    own = subject()
    name = own.sites[0].name
    statistics = measure(own, [(torch.randn(20, 3), None)])
    modes = []

    def failing() -> None:
        with as_line(own, name, statistics[name]):
            modes.append(own.rectifier(name).mode)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert [*modes, own.rectifier(name).mode] == ["line", "active"]


def test_channels_that_would_be_off_are_off_in_the_trial() -> None:
    """TLC sets them to 0 with the activation; the identity alone would say something else."""
    own, x = subject(), torch.randn(100, 3)
    name = own.sites[0].name
    statistics = measure(own, [(x, None)], sums=False)
    off = np.array([True, False, True, False])
    found = sensitivities(own, statistics, lambda: float(own.module(x).square().mean().detach()), {name: off})
    alone = subject()
    before = float(alone.module(x).square().mean().detach())
    alone.apply(Proposal(linear=(name,), line="identity", off={name: off}), statistics)
    assert found[name] == pytest.approx(float(alone.module(x).square().mean().detach()) - before)
    assert not own.rectifier(name).off.any()
