"""Sharpness against the exact diagonal of the Hessian."""

from __future__ import annotations

from itertools import product

import pytest

from onnx_nepenthe.errors import UsageError

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from onnx_nepenthe.prune.measures.sharpness import diagonal, random_signs, sharpness, weight_masks  # noqa: E402
from onnx_nepenthe.prune.records import Proposal  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402


def net() -> nn.Module:
    """7 weights and 3 biases; smooth, so that nothing of the Hessian is lost."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 1), nn.Tanh(), nn.Linear(1, 2), nn.Dropout(0.5)).double()


def batches(sizes: tuple[int, ...] = (5, 3)) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64)
    return list(zip(x.split(sizes), (x[:, 0] > 0).long().split(sizes), strict=True))


def loss(outputs: Tensor, targets: Tensor | None) -> Tensor:
    assert targets is not None
    return cross_entropy(outputs, targets)


def exact(module: nn.Module, names: list[str]) -> list[Tensor]:
    """The diagonal for every named parameter, of the mean loss over all samples, by second derivatives one by one."""
    module.eval()
    x, t = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    weights = [dict(module.named_parameters())[name] for name in names]
    slopes = torch.autograd.grad(loss(module(x), t), weights, create_graph=True)
    found = []
    for weight, slope in zip(weights, slopes, strict=True):
        rows = [torch.autograd.grad(s, weight, retain_graph=True)[0].flatten() for s in slope.flatten()]
        found.append(torch.stack(rows).diagonal().reshape(weight.shape))
    return found


def test_over_all_sign_vectors_it_is_exact() -> None:
    module = net().eval()
    x, t = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    weights = [module.get_parameter("0.weight"), module.get_parameter("2.weight")]
    signs = [
        [torch.tensor(v[:3], dtype=torch.float64).view(1, 3), torch.tensor(v[3:], dtype=torch.float64).view(2, 1)]
        for v in product((-1, 1), repeat=5)
    ]
    found = diagonal(loss(module(x), t), weights, signs)
    for one, other in zip(found, exact(module, ["0.weight", "2.weight"]), strict=True):
        torch.testing.assert_close(one, other)


class Scale(nn.Module):
    """y = w x, element by element: of the loss Σ y² / 2 the Hessian is diagonal, and one probe is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def test_masks_and_batches_of_any_size_by_hand() -> None:
    """The diagonal is the mean of x² over all 8 samples; the second weight is masked."""
    masks = {"weight": torch.tensor([True, False, True])}
    x = torch.cat([x for x, _ in batches()])
    expected = float((x**2).mean(0)[[0, 2]].mean())
    for sizes, probes in (((5, 3), 1), ((1, 7), 3), ((8,), 2)):
        generator = torch.Generator().manual_seed(probes)
        squares = sharpness(
            Scale(), masks, batches(sizes), lambda y, _: (y**2).sum(1).mean() / 2, generator=generator, probes=probes
        )
        assert squares == pytest.approx(expected)


def test_masked_weights_do_not_disturb_the_others() -> None:
    """With one weight left there is nothing off the diagonal, and one probe is exact."""
    module = net()
    masks = {"0.weight": torch.tensor([[False, True, False]]), "2.weight": torch.zeros(2, 1, dtype=torch.bool)}
    (diagonal_of_all, _) = exact(module, list(masks))
    found = sharpness(module, masks, batches(), loss, generator=torch.Generator().manual_seed(2), probes=1)
    assert found == pytest.approx(float(diagonal_of_all[0, 1].abs()))


def test_it_is_reproducible_and_leaves_everything_as_it_was() -> None:
    module = net().train()
    module[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    masks = {"0.weight": torch.ones(1, 3, dtype=torch.bool)}
    one, other = (
        sharpness(module, masks, batches(), loss, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert one == other
    assert [part.training for part in module] == [True, False, True, True]
    assert all((value == before[name]).all() for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_line_has_no_sharpness() -> None:
    module = nn.Linear(3, 1).double()
    masks = {"weight": torch.ones(1, 3, dtype=torch.bool), "bias": torch.ones(1, dtype=torch.bool)}
    generator = torch.Generator().manual_seed(0)
    assert sharpness(module, masks, batches(), lambda y, _: y.mean(), generator=generator) == 0


def test_signs() -> None:
    one, other = random_signs([torch.zeros(200), torch.zeros(2, 3)], 2, torch.Generator().manual_seed(0))
    assert set(one[0].tolist()) == {-1, 1}
    assert one[1].shape == (2, 3)
    assert (one[0] != other[0]).any()


@pytest.mark.parametrize(("sizes", "is_there"), [((), True), ((4,), False)])
def test_nothing_to_measure(sizes: tuple[int, ...], is_there: bool) -> None:
    masks = {"0.weight": torch.full((1, 3), is_there)}
    with pytest.raises(UsageError, match="at least one batch and one weight that is not masked"):
        sharpness(net(), masks, batches(sizes) if sizes else [], loss, generator=torch.Generator())


def test_of_a_subject() -> None:
    """A convolution's mask comes in the shape of its weight."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2))
    subject = Subject.of(net, torch.zeros(1, 2, 3, 3))
    mask = torch.arange(54).reshape(3, 18) % 2 == 0
    subject.apply(Proposal(masks={"0": mask.numpy()}), {})
    masks = weight_masks(subject)
    assert list(masks) == ["0.weight"]
    assert (masks["0.weight"] == mask.reshape(3, 2, 3, 3)).all()
    data = [(torch.randn(4, 2, 3, 3), torch.tensor([0, 1, 1, 0]))]
    assert sharpness(subject.module, masks, data, loss, generator=torch.Generator().manual_seed(0)) > 0
