"""Robustness: what each disturbance does to the inputs, and that all models see the same ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from onnx_nepenthe.prune.robustness import (  # noqa: E402
    ATYPICAL,
    CLEAN,
    DISTURBANCES,
    Subject,
    fgsm,
    robustness,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def disturbed(name: str, inputs: Tensor, strength: float) -> Tensor:
    return DISTURBANCES[name](inputs, strength, float(inputs.std()), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list(DISTURBANCES))
def test_every_disturbance_keeps_the_shape_and_changes_the_values(name: str) -> None:
    inputs = random(3, 2, 8, 8)
    result = disturbed(name, inputs, 1.0)
    assert result.shape == inputs.shape
    assert not torch.equal(result, inputs)
    assert torch.equal(result, disturbed(name, inputs, 1.0))


def test_noise_has_the_stated_strength() -> None:
    inputs = random(50, 1, 20, 20)
    assert float((disturbed("noise", inputs, 0.5) - inputs).std() / inputs.std()) == pytest.approx(0.5, rel=0.02)


def test_a_blur_keeps_constants_and_the_sum_of_a_point_and_nothing_across_channels() -> None:
    assert torch.allclose(disturbed("blur", torch.full((1, 1, 8, 8), 3.0), 1.0), torch.tensor(3.0))
    point = torch.zeros(1, 2, 15, 15)
    point[0, 0, 7, 7] = 1
    blurred = disturbed("blur", point, 1.0)
    assert float(blurred[0, 0].sum()) == pytest.approx(1)
    assert float(blurred[0, 0, 7, 7]) == pytest.approx(1 / (2 * torch.pi), rel=0.02)
    assert torch.equal(blurred[0, 1], point[0, 1])


def test_a_translation_moves_pixels() -> None:
    inputs = random(1, 1, 4, 4)
    assert torch.equal(disturbed("translate", inputs, 1.0)[..., 1:, 1:], inputs[..., :-1, :-1])


def test_fgsm_moves_by_the_step_and_raises_the_loss() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).train()
    inputs, labels = random(8, 4), torch.arange(8) % 3
    moved = fgsm(net, inputs, labels, 0.1)
    assert torch.allclose((moved - inputs).abs(), torch.tensor(0.1), atol=1e-6)
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        assert loss(net(moved), labels) > loss(net(inputs), labels)
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def case() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A net that is always right on clean data: the class is the sign of the mean."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([-torch.ones(16), torch.ones(16)]))  # type: ignore[operator]
        net[1].bias.zero_()  # type: ignore[operator]
    inputs = random(40, 1, 4, 4, seed=5)
    labels = (inputs.mean(dim=(1, 2, 3)) > 0).long()
    return net, [(inputs[at : at + 16], labels[at : at + 16]) for at in range(0, 40, 16)]


def test_rows_hold_every_model_and_strength() -> None:
    net, batches = case()
    seen: list[Tensor] = []

    def watching(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        result: Tensor = net(inputs)
        return result

    def passes() -> Iterable[tuple[Tensor, Tensor]]:
        return iter(batches)

    models = {"dense": Subject(watching, net), "collapsed": Subject(watching, net)}
    rows = robustness(models, passes, strengths={"noise": (0.5, 2.0), "fgsm": (0.5,)}, typical=passes)
    assert [(row.disturbance, row.strength) for row in rows] == [
        (CLEAN, 0.0),
        ("noise", 0.5),
        ("noise", 2.0),
        ("fgsm", 0.5),
        (ATYPICAL, 0.0),
    ]
    clean, weak, strong, attacked, atypical = rows
    assert clean.accuracy == {"dense": 1.0, "collapsed": 1.0}
    assert 1.0 > weak.accuracy["dense"] >= strong.accuracy["dense"]
    assert attacked.accuracy["dense"] < weak.accuracy["dense"]
    assert (clean.samples, atypical.samples) == (40, 10)
    assert all(torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))


def test_vectors_are_neither_blurred_nor_moved() -> None:
    net = nn.Linear(3, 2)
    data = [(random(4, 3), torch.zeros(4, dtype=torch.int64))]
    rows = robustness({"net": Subject(net, net)}, lambda: data)
    assert {row.disturbance for row in rows} == {CLEAN, "noise", "brightness", "fgsm"}


def test_an_unknown_disturbance_is_named() -> None:
    with pytest.raises(ValueError, match="fog"):
        robustness({}, lambda: [], strengths={"fog": (1.0,)})


@pytest.mark.parametrize(("samples", "far"), [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2)])
def test_the_atypical_quarter_is_never_empty(samples: int, far: int) -> None:
    """Accuracy on no samples would be told as 0."""
    net = nn.Linear(3, 2)
    data = [(random(samples, 3), torch.zeros(samples, dtype=torch.int64))]
    rows = robustness({"net": Subject(net, net)}, lambda: data, strengths={}, typical=lambda: data)
    assert [(row.disturbance, row.samples) for row in rows] == [(CLEAN, samples), (ATYPICAL, far)]
