from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.errors import UnreadableError, UnsupportedError, UsageError  # noqa: E402
from onnx_nepenthe.prune.records import Proposal, SiteStatistics  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.regimes import RegimeCounts  # noqa: E402


class Block(nn.Module):
    """A residual block with a PReLU that is called twice, a transposed convolution, and a head without a feeder."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=False)
        self.act = nn.PReLU(4)
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.pooled = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)) + x)
        x = self.up(x).relu()
        return torch.tanh(x).clamp(min=0)


def image() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def subject() -> Subject:
    torch.manual_seed(0)
    return Subject.of(Block(), image())


def statistics(made: Subject, below: int = 1, above: int = 1) -> dict[str, SiteStatistics]:
    """`below` and `above` observations in the two pieces of every channel."""
    found = {}
    for site in made.sites:
        counts = np.repeat([[below], [above]], site.channels, 1)
        low, high = np.full(site.channels, -1.0 * bool(below)), np.full(site.channels, 1.0 * bool(above))
        ties = np.zeros((1, site.channels), np.int64)
        found[site.name] = SiteStatistics(RegimeCounts(counts, ties, low, high), samples=below + above)
    return found


def masks(made: Subject, feeder: str, *off: tuple[int, int]) -> dict[str, np.ndarray]:
    mask = np.ones(tuple(made.masks[feeder].shape), bool)
    mask[tuple(zip(*off, strict=True))] = False
    return {feeder: mask}


def test_sites_with_weights_are_prunable_and_the_others_are_noted() -> None:
    made = subject()
    assert [(site.label, site.feeder) for site in made.prunable()] == [
        ("act, call 1", "conv1"),
        ("act, call 2", "conv2"),
        ("ReLU", "up"),
    ]
    assert [(note.layer, note.reason) for note in made.notes()] == [
        ("clamp", "no convolution or dense layer of its own makes its channels")
    ]


def test_weights_that_are_used_twice_count_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.fc(x).relu()).relu()

    made = Subject.of(Twice(), torch.randn(2, 4))
    assert [site.name for site in made.prunable()] == ["relu"]
    assert [note.reason for note in made.notes()] == ["its weights, fc, are counted with ReLU, call 1"]


class Tied(nn.Module):
    """Two convolutions with one weight, the second of them of another kind on request."""

    def __init__(self, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), second
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))))


def test_two_layers_that_share_a_weight_share_its_mask_and_count_once() -> None:
    own = Subject.of(Tied(nn.Conv2d(4, 4, 3, dilation=2)), torch.rand(2, 4, 6, 6))
    assert [site.feeder for site in own.sites] == ["first", "second"]
    assert [site.feeder for site in own.prunable()] == ["first"]
    assert [note.reason for note in own.notes()] == ["its weights, second, are counted with ReLU, call 1"]
    for feeder, row in (("first", 0), ("second", 1)):
        mask = np.ones((4, 36), bool)
        mask[row] = False
        own.apply(Proposal(masks={feeder: mask}), {})
    assert torch.equal(own.masks["first"], own.masks["second"])
    first, second = (own.module.get_submodule(name).weight for name in ("first", "second"))
    assert first is second
    assert [int(row.count_nonzero()) for row in first] == [0, 0, 36, 36]


def test_a_shared_weight_that_is_read_in_two_ways_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="first and second share one weight and read it in different ways"):
        Subject.of(Tied(nn.ConvTranspose2d(4, 4, 3, padding=1)), torch.rand(2, 4, 6, 6))


def test_layers_are_what_a_method_sees() -> None:
    made = subject()
    with torch.no_grad():
        made.module.get_submodule("bn1").weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        made.rectifier("act").function.weight[0] = 0.5
    made.apply(Proposal(masks=masks(made, "conv1", (0, 0), (1, 5))), {})
    made.rectifier("act_1").set_fold(0.25)
    first, second, third = made.layers(statistics(made), {"act": 0.5})
    assert first.weight.shape == first.mask.shape == (4, 27)
    assert (first.remaining, first.weight[0, 0], first.weight[1, 5]) == (4 * 27 - 2, 0.0, 0.0)
    assert first.gamma is not None
    assert first.gamma.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert first.site.activation.line(0, 4)[0].tolist() == [0.5, 0.25, 0.25, 0.25]
    assert (first.sensitivity, first.is_linear, first.fold) == (0.5, False, None)
    assert second.fold == 0.25
    # The norm in front of the skip says nothing of the sum.
    assert second.gamma is second.beta is None
    assert third.weight.shape == (2, 16)
    assert third.gamma is third.sensitivity is None


def test_a_norm_without_parameters_has_those_it_computes_with() -> None:
    made = Subject.of(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.ReLU()), torch.randn(2, 3))
    (layer,) = made.layers(statistics(made))
    assert layer.gamma is not None
    assert layer.beta is not None
    assert (layer.gamma.tolist(), layer.beta.tolist()) == ([1.0] * 4, [0.0] * 4)


def test_layers_without_statistics_are_left_out() -> None:
    made = subject()
    found = statistics(made)
    del found["act"]
    assert [layer.site.name for layer in made.layers(found)] == ["act_1", "relu"]


def test_masked_weights_are_0_and_stay_0_when_enforced() -> None:
    made = subject()
    made.apply(Proposal(masks=masks(made, "conv1", (0, 0)) | masks(made, "up", (1, 2))), {})
    made.apply(Proposal(masks=masks(made, "conv1", (2, 3))), {})
    for parameter in made.module.parameters():
        parameter.data += 1
    made.enforce()
    conv, up = (made.feeder(name).weight.detach() for name in ("conv1", "up"))
    assert (conv == 0).nonzero().tolist() == [[0, 0, 0, 0], [2, 0, 1, 0]]
    # (in, out, kh, kw): the third tap of the first input makes part of the second output.
    assert (up == 0).nonzero().tolist() == [[0, 1, 1, 0]]


def test_a_linear_site_is_a_line_and_trained_as_one() -> None:
    made, x = subject(), image()
    made.module.eval()
    made.apply(Proposal(linear=("relu",)), statistics(made, below=0))
    assert made.is_linear("relu")
    assert not made.is_linear("act")
    assert [layer.is_linear for layer in made.layers(statistics(made))] == [False, False, True]
    made.module(x).sum().backward()
    assert made.rectifier("relu").slope.grad is not None


def test_an_exact_replacement_changes_nothing() -> None:
    made, x = subject(), image()
    made.module.eval()
    z = []
    hook = made.rectifier("relu").register_forward_pre_hook(lambda _, args: z.append(args[0]))
    with torch.no_grad():
        made.feeder("up").bias.fill_(10.0)
        before = made.module(x)
        hook.remove()
        assert float(z[0].min()) > 0
        made.apply(Proposal(linear=("relu",)), statistics(made, below=0))
        assert torch.equal(made.module(x), before)


def test_channels_that_are_off_stop() -> None:
    made = subject()
    made.apply(Proposal(off={"act": np.array([True, False, False, True])}), {})
    seen = []
    made.rectifier("act").register_forward_hook(lambda _, args, y: seen.append(y))
    with torch.no_grad():
        made.module(image())
    assert (seen[0].abs().amax((0, 2, 3)) == 0).tolist() == [True, False, False, True]


def prune(made: Subject) -> None:
    """A round of everything that can be done to a subject."""
    made.apply(
        Proposal(
            masks=masks(made, "conv1", (0, 0), (3, 7)),
            linear=("act_1",),
            off={"act": np.array([True, False, False, False])},
        ),
        statistics(made),
    )
    made.rectifier("relu").set_fold(0.5)
    made.set_padding("conv1", (2, 2))
    optimiser = torch.optim.SGD([p for p in made.module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        made.module(image()).square().sum().backward()
        optimiser.step()
        made.enforce()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(value, b[key]) for key, value in a.items())
    return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_fresh_subject_takes_over_the_state_bit_for_bit(is_training: bool, tmp_path: Path) -> None:
    made, fresh = subject(), subject()
    prune(made)
    torch.save(made.state_dict(), tmp_path / "state.pt")
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(made.state_dict(), fresh.state_dict())
    assert [made.rectifier(site.name).mode for site in made.sites] == ["active", "line", "fold", "active"]
    assert fresh.is_linear("act_1")
    made.module.train(is_training)
    fresh.module.train(is_training)
    assert torch.equal(made.module(image()), fresh.module(image()))
    prune(made)
    prune(fresh)
    assert same(made.state_dict(), fresh.state_dict())


def test_an_earlier_state_takes_everything_back() -> None:
    made = subject()
    saved = io.BytesIO()
    torch.save(made.state_dict(), saved)
    saved.seek(0)
    before = torch.load(saved, weights_only=True)
    prune(made)
    assert not same(made.state_dict(), before)
    made.load_state_dict(before)
    assert same(made.state_dict(), before)
    assert not made.is_linear("act_1")
    assert made.feeder("conv1").padding == (1, 1)


@pytest.mark.parametrize(
    ("other", "reason"),
    [(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), "prunable layers differ"), (nn.Tanh(), "prunable layers differ")],
)
def test_the_state_of_another_network_is_refused(other: nn.Module, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        subject().load_state_dict(Subject.of(other, image()).state_dict())


def test_a_state_that_lacks_something_is_refused_in_one_line() -> None:
    made = subject()
    state = made.state_dict()
    state["module"] = {name: value for name, value in state["module"].items() if "bn1" not in name}
    with pytest.raises(UnreadableError, match="another network") as error:
        made.load_state_dict(state)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("proposal", "reason"),
    [
        (Proposal(linear=("relo",)), "no site is called 'relo'; did you mean 'relu'"),
        (Proposal(off={"nothing": np.zeros(4, bool)}), "no site is called 'nothing'"),
        (Proposal(masks={"bn1": np.ones((4, 1), bool)}), "no site is fed by 'bn1'; feeders are conv1, conv2, up"),
        (Proposal(masks={"conv1": np.ones((4, 3), bool)}), r"a mask of conv1 has shape \(4, 27\), not \(4, 3\)"),
    ],
)
def test_a_proposal_for_what_is_not_there_is_an_error(proposal: Proposal, reason: str) -> None:
    made = subject()
    with pytest.raises(UsageError, match=reason):
        made.apply(proposal, statistics(made))


def test_a_site_by_name() -> None:
    made = subject()
    assert made.site("act_1") is made.sites[1]
