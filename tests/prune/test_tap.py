"""Measuring a network: what is counted is what passes through, and nothing is changed by it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from onnx_nepenthe.prune.records import Proposal, SiteStatistics  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.tap import batch_mean_entropy, device_of, measure  # noqa: E402


class Net(nn.Module):
    """A ReLU in place that is called twice, a BatchNorm, a GELU with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.three, self.drop, self.head = nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.one(x)))
        x = self.act(self.two(x) + x)
        x = F.gelu(self.three(x.flatten(2).transpose(1, 2)))
        return self.head(self.drop(x).mean(1))


def subject() -> Subject:
    torch.manual_seed(0)
    return Subject.of(Net(), torch.zeros(2, 3, 6, 5))


def data(size: int = 13) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(size, 3, 6, 5, generator=generator), torch.arange(size) % 3)


def loader(batch: int = 4) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(data(), batch_size=batch)


def by_hand(net: Net) -> list[np.ndarray]:
    """z at the three calls, float64, channels on axis 1, of all samples in evaluation mode."""
    net.eval()
    with torch.no_grad():
        first = net.norm(net.one(data().tensors[0]))
        second = net.two(first.relu()) + first.relu()
        third = net.three(second.relu().flatten(2).transpose(1, 2)).transpose(1, 2)
    return [z.double().numpy() for z in (first, second, third)]


def test_it_counts_what_passes_through() -> None:
    """An activation in place must not hide its input; the same batches as by hand, so that the floats are the same."""
    torch.manual_seed(0)
    net = Net()
    found = measure(Subject.of(net, torch.zeros(2, 3, 6, 5)), loader(13))
    for statistics, z in zip(found.values(), by_hand(net), strict=True):
        states, axes = statistics.states, tuple(a for a in range(z.ndim) if a != 1)
        np.testing.assert_array_equal(states.counts, [(z < 0).sum(axes), (z > 0).sum(axes)])
        np.testing.assert_array_equal(states.ties[0], (z == 0).sum(axes))
        np.testing.assert_array_equal(statistics.counts.low, z.min(axes))
        assert statistics.samples == 13
        assert statistics.classes is None
        assert statistics.sums is not None
        np.testing.assert_allclose(statistics.sums.zz, (z * z).sum(axes), rtol=1e-12)
    assert [statistics.counts.counts.shape for statistics in found.values()] == [(2, 4), (2, 4), (3, 5)]
    assert [statistics.signs is None for statistics in found.values()] == [True, True, False]


def test_the_sums_give_the_line_of_what_the_site_computes() -> None:
    one = subject()
    name = one.sites[0].name
    one.rectifier(name).set_line(0.5, -1.0)
    sums = measure(one, loader())[name].sums
    assert sums is not None
    np.testing.assert_allclose(sums.line(), [[0.5] * 4, [-1.0] * 4], rtol=1e-5)


def test_modes_gradients_and_statistics_are_as_they_were() -> None:
    one = subject()
    one.module.train()
    one.module.get_submodule("norm").eval()
    before = {name: value.clone() for name, value in one.module.state_dict().items()}
    modes = {name: part.training for name, part in one.module.named_modules()}
    measure(one, loader())
    assert {name: part.training for name, part in one.module.named_modules()} == modes
    assert all((value == before[name]).all() for name, value in one.module.state_dict().items())
    assert torch.is_grad_enabled()
    assert not any(part._forward_hooks for part in one.module.modules())


def test_modes_and_hooks_are_as_they_were_after_a_failure() -> None:
    one = subject()
    one.module.train()
    with pytest.raises(RuntimeError):
        measure(one, [(torch.zeros(2, 7, 6, 5), None)])
    assert all(part.training for part in one.module.modules())
    assert not any(part._forward_hooks for part in one.module.modules())


def test_by_class() -> None:
    one = subject()
    found = measure(one, loader(13), by_class=True)
    for statistics in found.values():
        assert statistics.classes is not None
        assert statistics.classes.classes == (0, 1, 2)
        np.testing.assert_array_equal(statistics.classes.total().counts, statistics.states.counts)
    whole = one.sites[0].name
    x, labels = data().tensors
    alone = measure(one, [(x[labels == 2], None)])[whole]
    classes = found[whole].classes
    assert classes is not None
    assert np.abs(alone.counts.counts - classes.by_class[2].counts).sum() <= 2


def test_inputs_without_targets_or_several() -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return F.relu(a + b)

    two = Subject.of(Sum(), (torch.zeros(2, 3), torch.zeros(2, 3)))
    (found,) = measure(two, [((torch.ones(5, 3), torch.full((5, 3), -2.0)), None)]).values()
    assert found.counts.counts.tolist() == [[5] * 3, [0] * 3]
    assert found.samples == 5
    one = subject()
    x = data().tensors[0]
    plain, listed = measure(one, [x]), measure(one, [[x, None]])
    for name in plain:
        np.testing.assert_array_equal(plain[name].counts.counts, listed[name].counts.counts)


def test_half_precision() -> None:
    """Under autocast z comes in bfloat16; counts of what was computed are exact all the same."""
    one, seen = subject(), []
    name = one.sites[0].name
    one.rectifier(name).register_forward_hook(lambda _m, args, _y: seen.append(args[0]))
    with torch.autocast("cpu", torch.bfloat16):
        found = measure(one, loader(13))[name].counts
    (z,) = seen
    assert z.dtype == torch.bfloat16
    np.testing.assert_array_equal(found.counts, [(z < 0).sum((0, 2, 3)), (z > 0).sum((0, 2, 3))])


def test_nothing_passes_through() -> None:
    found = measure(subject(), [], by_class=True)
    assert [statistics.samples for statistics in found.values()] == [0, 0, 0]
    assert (found[subject().sites[0].name].counts.observations == 0).all()


def test_a_reduction_gets_what_was_counted_here() -> None:
    """Two halves that are brought together are the whole, as for two processes."""
    one, halves = subject(), [data()[:7], data()[7:]]
    parts = [measure(one, [half], sums=False) for half in halves]

    def other(own: Mapping[str, SiteStatistics]) -> dict[str, SiteStatistics]:
        return {name: SiteStatistics(s.counts + parts[1][name].counts) for name, s in own.items()}

    merged, whole = measure(one, [halves[0]], reduce=other), measure(one, halves)
    for name, statistics in whole.items():
        np.testing.assert_array_equal(merged[name].counts.counts, statistics.counts.counts)


def test_what_is_measured_can_be_applied() -> None:
    one = subject()
    name = one.sites[2].name
    x = data().tensors[0]
    with torch.no_grad():
        before = one.module.eval()(x)
        one.apply(Proposal(linear=(name,)), measure(one, loader()))
        assert float((one.module(x) - before).abs().max()) < 0.2
    assert one.is_linear(name)


@pytest.mark.parametrize(
    ("targets", "complaint"),
    [
        (None, "these data have no targets"),
        (torch.zeros(2), "the targets are float32 of shape \\(2,\\)"),
        (torch.zeros(2, 3, dtype=torch.int64), "the targets are int64 of shape \\(2, 3\\)"),
    ],
)
def test_classes_that_are_none(targets: Tensor | None, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        measure(subject(), [(torch.zeros(2, 3, 6, 5), targets)], by_class=True)


def test_the_mean_over_batches_depends_on_their_size() -> None:
    """Two samples, one ON and one OFF: 1 bit together, 0 one by one."""
    one = Subject.of(nn.ReLU(), torch.zeros(1, 2))
    x = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    (whole,) = batch_mean_entropy(one, [x]).values()
    (single,) = batch_mean_entropy(one, x.split(1)).values()
    (none,) = batch_mean_entropy(one, []).values()
    assert (whole.tolist(), single.tolist(), none.tolist()) == ([1, 0], [0, 0], [0, 0])


def test_the_mean_over_batches_takes_the_tie_rule() -> None:
    one = Subject.of(nn.ReLU(), torch.zeros(1, 1))
    (dropped,) = batch_mean_entropy(one, [torch.tensor([[0.0], [1.0]])]).values()
    (below,) = batch_mean_entropy(one, [torch.tensor([[0.0], [1.0]])], tie="below").values()
    assert (dropped.tolist(), below.tolist()) == ([0], [1])


def test_where_a_network_is() -> None:
    assert device_of(nn.Linear(1, 1)) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")
