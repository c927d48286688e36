"""Linear runs of convolutions that keep the kernel of their first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch import nn  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

from onnx_nepenthe.errors import UsageError  # noqa: E402
from onnx_nepenthe.prune.batches import Splits  # noqa: E402
from onnx_nepenthe.prune.loop import run  # noqa: E402
from onnx_nepenthe.prune.methods.base import Context, Method  # noqa: E402
from onnx_nepenthe.prune.methods.easier import EasierConfig  # noqa: E402
from onnx_nepenthe.prune.narrowing import narrow  # noqa: E402
from onnx_nepenthe.prune.records import Layer, Proposal  # noqa: E402
from onnx_nepenthe.prune.rounds import Result, Round, Theta  # noqa: E402
from onnx_nepenthe.prune.settings import Settings  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.tuning import Tuning, last_tuning  # noqa: E402
from tests.helpers.pruning import Scripted, blocks, linear_subject, same, weights  # noqa: E402

SIZE = 9


def images(samples: int = 40, channels: int = 3) -> torch.Tensor:
    return torch.randn(samples, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def pair(stride: int = 1, **second: Any) -> nn.Sequential:
    torch.manual_seed(0)
    settings = {"kernel_size": 3, "stride": stride, "padding": 1} | second
    last = nn.Conv2d(4, 5, **settings)  # type: ignore[arg-type]
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), last, nn.BatchNorm2d(5), nn.ReLU()
    )


def taken(subject: Subject, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a convolution reads and makes."""
    seen: list[torch.Tensor] = []
    handle = subject.feeder(name).register_forward_hook(lambda _m, args, y: seen.extend((args[0], y)))
    with torch.no_grad():
        subject.module(x)
    handle.remove()
    return seen[0], seen[1]


@pytest.mark.parametrize(
    "network",
    [
        pair(),
        pair(2),
        pair(bias=False),
        pair(padding=2, dilation=2),
        pair(kernel_size=(3, 1), padding=(1, 0)),
        pair(kernel_size=5, padding=2),
        pair().to(memory_format=torch.channels_last),
    ],
    ids=["plain", "stride", "no bias", "dilated", "one axis", "5", "channels last"],
)
def test_the_centre_is_the_least_squares_fit_to_what_the_convolution_made(network: nn.Sequential) -> None:
    x = images()
    made = linear_subject(network, x)
    before, target = taken(made, "3", x)
    (found,) = narrow(made, lambda: [(x[:25], None), (x[25:], None)])
    conv: Any = made.feeder("3")
    assert (found.first, found.conv) == ("0", "3")
    rows = before[:, :, :: conv.stride[0], :: conv.stride[1]].movedim(1, -1).reshape(-1, 4).double().numpy()
    rows = np.c_[rows, np.ones(len(rows))] if conv.bias is not None else rows
    goal = target.movedim(1, -1).reshape(-1, 5).double().numpy()
    solution = np.linalg.lstsq(rows, goal, rcond=None)[0]
    taps = conv.weight.detach().numpy().reshape(5, 4, -1)
    middle = taps.shape[-1] // 2
    np.testing.assert_allclose(taps[..., middle], solution[:4].T, rtol=1e-3, atol=1e-4)
    assert np.count_nonzero(np.delete(taps, middle, axis=-1)) == 0
    missed = ((goal - rows @ solution) ** 2).sum() / ((goal - goal.mean(axis=0)) ** 2).sum()
    assert found.explained == pytest.approx(1 - missed, abs=1e-4)
    assert 0.02 < found.explained < 0.98
    _, after = taken(made, "3", x)
    assert after.shape == target.shape
    np.testing.assert_allclose(after.movedim(1, -1).reshape(-1, 5).numpy(), rows @ solution, rtol=1e-3, atol=1e-4)


def test_what_was_masked_stays_so_and_the_rest_is_fitted_without_it() -> None:
    x = images()
    made = linear_subject(pair(), x)
    mask = np.random.default_rng(0).random((5, 4 * 9)) < 0.5
    mask[0], mask[1] = False, True
    made.apply(Proposal(masks={"3": mask}), {})
    before, target = taken(made, "3", x)
    (found,) = narrow(made, lambda: [(x, None)])
    rows = np.c_[before.movedim(1, -1).reshape(-1, 4).double().numpy(), np.ones(before[:, 0].numel())]
    goal = target.movedim(1, -1).reshape(-1, 5).double().numpy()
    conv: Any = made.feeder("3")
    fitted = np.c_[conv.weight.detach().numpy()[..., 1, 1], conv.bias.detach().numpy()]
    missed = 0.0
    for output, kept in enumerate(np.c_[mask.reshape(5, 4, 9)[..., 4], np.ones(5, bool)]):
        solution = np.linalg.lstsq(rows[:, kept], goal[:, output], rcond=None)[0]
        np.testing.assert_allclose(fitted[output, kept], solution, rtol=1e-3, atol=1e-4)
        assert not fitted[output, ~kept].any()
        missed += ((goal[:, output] - rows[:, kept] @ solution) ** 2).sum()
    assert found.explained == pytest.approx(1 - missed / ((goal - goal.mean(axis=0)) ** 2).sum(), abs=1e-4)


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv3d])
def test_any_number_of_axes(conv: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 3, *(6,) * (1 if conv is nn.Conv1d else 3))
    made = linear_subject(nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU(), conv(4, 2, 3, padding=1), nn.ReLU()), x)
    (found,) = narrow(made, lambda: [(x, None)])
    assert found.conv == "2"
    assert int(made.masks["2"].sum()) == 4 * 2


def test_a_convolution_of_its_centre_alone_stays_what_it_is() -> None:
    x = images()
    made = linear_subject(pair(), x)
    weight: Any = made.feeder("3").weight
    with torch.no_grad():
        middle = weight[..., 1, 1].clone()
        weight.zero_()
        weight[..., 1, 1] = middle
        before = made.module(x)
        (found,) = narrow(made, lambda: [(x, None)])
        torch.testing.assert_close(made.module(x), before, rtol=1e-3, atol=1e-3)
    assert found.explained == pytest.approx(1, abs=1e-4)


def test_training_leaves_the_other_taps_at_zero_and_a_state_brings_them_back() -> None:
    x = images()
    made = linear_subject(pair(), x)
    narrow(made, lambda: [(x, None)])
    state = {name: value.clone() for name, value in weights(made).items()}
    optimiser = torch.optim.SGD(made.module.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        made.module(x).square().mean().backward()
        optimiser.step()
        made.enforce()
    taps: Any = made.feeder("3").weight
    assert int((taps != 0).sum()) == 5 * 4
    again = linear_subject(pair(), x)
    again.load_state_dict(made.state_dict())
    assert same(weights(again), weights(made))
    assert not same(weights(made), state)


def test_sums_of_several_processes_are_added_before_the_fit() -> None:
    x = images()
    one, other, all_of_it = (linear_subject(pair(), x) for _ in range(3))
    sums: list[torch.Tensor] = []
    narrow(other, lambda: [(x[15:], None)], lambda own: sums.append(own.clone()) or own)  # type: ignore[func-returns-value]
    narrow(one, lambda: [(x[:15], None)], lambda own: own + sums[0])
    narrow(all_of_it, lambda: [(x, None)])
    mine, theirs = (subject.feeder("3").weight for subject in (one, all_of_it))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_of_a_share_those_stay_that_fit_best() -> None:
    x = images(channels=1)
    torch.manual_seed(0)
    everything = narrow(linear_subject(blocks(), x), lambda: [(x, None)])
    torch.manual_seed(0)
    made = linear_subject(blocks(), x)
    half = narrow(made, lambda: [(x, None)], share=0.5)
    assert [one.conv for one in everything] == ["2", "4"]
    assert [one.conv for one in half] == [max(everything, key=lambda one: one.explained).conv]
    assert {one.first for one in everything} == {"0"}, "the kernel of the first of the run stays"
    wide = next(name for name in ("2", "4") if name != half[0].conv)
    assert bool(made.masks[wide].all())


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(torch.relu(self.conv(self.first(x)))))


class Tied(nn.Sequential):
    """Two convolutions, one behind a pool, with one weight."""

    def __init__(self) -> None:
        first, second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        second.weight = first.weight
        middle = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU()]
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *middle)


@pytest.mark.parametrize(
    "network",
    [
        CalledTwice(),
        Tied(),
        pair(padding=0),
        pair(padding=2),
        pair(kernel_size=2, padding=1),
        pair(kernel_size=1, padding=0),
        pair(padding_mode="reflect"),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()),
    ],
    ids=["twice", "tied", "unpadded", "more padding", "even", "1", "reflect", "pointwise", "groups", "pool", "no site"],
)
def test_what_cannot_be_narrowed_is_left_alone(network: nn.Module) -> None:
    made = linear_subject(network, images())
    before = weights(made)
    assert narrow(made, lambda: [(images(), None)]) == ()
    assert same(weights(made), before)


def test_a_rectifier_that_is_active_ends_a_run() -> None:
    made = linear_subject(pair(), images())
    made.rectifier(made.sites[0].name).set_active()
    assert narrow(made, lambda: [(images(), None)]) == ()


def every(_config: Any, layers: Sequence[Layer], _context: Context) -> Proposal:
    left = tuple(layer.site.name for layer in layers if not layer.is_linear)
    return Proposal(linear=left, done="" if left else "nothing left")


def settled(
    *accuracies: float, max_epochs: float | None = None, network: nn.Module | None = None
) -> tuple[Subject, Result]:
    """A run in which all rectifiers go at once, with the accuracies that the trainings come to."""
    x = images(40, 1)
    torch.manual_seed(0)
    own, data = Subject.of(network or blocks(), x), TensorDataset(x, (x[:, 0, 1, 1] > 0).long())
    settings = Settings(Theta(accuracy=0.5), settle=last_tuning(0.5, narrow=True), narrow=True, max_epochs=max_epochs)
    method = Method("every", "", "", EasierConfig, every)
    return own, run(own, method, EasierConfig(), Splits(data, data, data), Scripted(*accuracies), settings)


def test_runs_are_narrowed_before_the_last_fine_tuning() -> None:
    own, result = settled(0.9, 0.9, 0.8)
    assert [entry.phase for entry in result.rounds] == ["dense", "round", "settle"]
    last = result.rounds[-1]
    assert last.narrowed == ("2", "4")
    assert last.is_accepted
    assert result.chosen == 2
    assert [int((own.feeder(name).weight != 0).sum()) for name in ("2", "4")] == [16, 12]  # type: ignore[operator, arg-type]
    assert [own.feeder(name).padding for name in ("0", "2", "4")] == [(1, 1)] * 3, "there is nothing to pad for"
    assert Round.from_json(last.to_json()) == last


def test_fewer_are_narrowed_where_accuracy_falls_and_none_in_the_end() -> None:
    own, result = settled(0.9, 0.9, 0.1, 0.9)
    assert [len(entry.narrowed) for entry in result.rounds] == [0, 0, 2, 1]
    assert [entry.is_accepted for entry in result.rounds] == [True, True, False, True]
    (narrowed,) = result.rounds[-1].narrowed
    assert sum(bool(mask.all()) for mask in own.masks.values()) == 2
    assert not own.masks[narrowed].all()
    own, result = settled(0.9, 0.9, 0.1, 0.1, 0.9)
    assert [len(entry.narrowed) for entry in result.rounds] == [0, 0, 2, 1, 0], "half of one is none"
    assert result.rounds[-1].phase == "settle"
    assert [own.feeder(name).padding for name in ("0", "2", "4")] == [(3, 3), (0, 0), (0, 0)]
    own, result = settled(0.9, 0.9, 0.1, 0.1, 0.1)
    assert result.chosen == 1
    assert [own.feeder(name).padding for name in ("0", "2", "4")] == [(1, 1)] * 3
    assert all(bool(mask.all()) for mask in own.masks.values())


@pytest.mark.parametrize(("most", "tries"), [(2.0, 0), (2.5, 1), (2.9, 1), (3.0, 2), (9.0, 3)])
def test_no_try_exceeds_the_epochs_that_are_allowed(most: float, tries: int) -> None:
    """Dense and a round take one each, every try half of one; a round leaves room for the first."""
    _, result = settled(0.9, 0.9, 0.1, 0.1, 0.1, max_epochs=most)
    assert [entry.phase for entry in result.rounds].count("settle") == tries
    assert result.epochs <= most


def test_where_there_is_nothing_to_narrow_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    parts = [nn.Flatten(), nn.Linear(SIZE * SIZE, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)]
    _, result = settled(0.9, 0.9, network=nn.Sequential(*parts))
    assert [entry.phase for entry in result.rounds] == ["dense", "round"]
    (said,) = [line.message for line in caplog.records if "narrow" in line.name or "workbench" in line.name]
    assert said.startswith("nothing to narrow")
    caplog.clear()
    settled(0.9, 0.9, 0.1, 0.1, 0.9)
    assert "nothing to narrow" not in caplog.text, "it was tried"


def test_narrowing_without_a_fine_tuning_is_refused() -> None:
    with pytest.raises(UsageError, match="narrow needs settle"):
        Settings(Theta(accuracy=0.5), narrow=True)
    assert Settings(Theta(accuracy=0.5), settle=Tuning(1.0), narrow=True).narrow
