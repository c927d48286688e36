"""The loss of the task, distillation and the penalty of Layer Folding."""

from __future__ import annotations

import math

import pytest

from onnx_nepenthe.errors import UsageError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.prune.losses import FoldPenalty, Pass, Teacher, task_loss  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.tuning import Distillation  # noqa: E402


def seen(inputs: torch.Tensor, outputs: torch.Tensor) -> Pass:
    return Pass((inputs,), outputs, {})


def test_the_task_is_cross_entropy_with_smoothed_labels() -> None:
    outputs, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    logs = [-math.log(1 / (1 + math.exp(-2))), -math.log(1 / (1 + math.exp(2)))]
    assert float(task_loss(outputs, targets)) == pytest.approx(logs[0])
    assert float(task_loss(outputs, targets, 0.2)) == pytest.approx(0.9 * logs[0] + 0.1 * logs[1])


def test_distillation_is_the_divergence_at_its_temperature() -> None:
    module = nn.Identity()
    teacher = Teacher(module, Distillation(weight=3.0, temperature=2.0))
    taught, ours = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    p = 1 / (1 + math.exp(-1))
    divergence = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert float(teacher(seen(taught, ours))) == pytest.approx(3 * 4 * divergence, rel=1e-5)
    assert float(teacher(seen(taught, taught))) == pytest.approx(0, abs=1e-6)


def test_the_teacher_stays_as_it_was_and_learns_nothing() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.9))
    module.train()
    teacher = Teacher(module, Distillation())
    x = torch.randn(5, 2)
    before = module.eval()(x).detach()
    with torch.no_grad():
        module[0].weight.zero_()  # type: ignore[operator]
    outputs = before.clone().requires_grad_()
    loss = teacher(seen(x, outputs))
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    (-outputs.log_softmax(1)[:, 0].sum() + loss).backward()
    assert module[0].weight.grad is None


def test_the_penalty_is_of_every_fold_that_is_no_whole_identity() -> None:
    subject = Subject.of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU()), torch.zeros(2, 2))
    folds = [subject.rectifier(site.name) for site in subject.sites]
    for rectifier, alpha in zip(folds, (0.5, 1.0), strict=True):
        rectifier.set_fold(alpha)
    loss = FoldPenalty(folds, 0.25)(seen(torch.zeros(1), torch.zeros(1)))
    assert float(loss.detach()) == pytest.approx(0.25 * 0.75)
    loss.backward()
    assert folds[0].alpha.grad is not None
    assert float(folds[0].alpha.grad) == pytest.approx(-0.25)


def test_nothing_folded_adds_nothing() -> None:
    assert float(FoldPenalty([], 0.25)(seen(torch.zeros(1), torch.zeros(1)))) == 0


def test_a_class_that_the_network_does_not_know() -> None:
    with pytest.raises(UsageError, match="labels are from 0 to 3; the network has 2 outputs, for 0 to 1"):
        task_loss(torch.zeros(2, 2), torch.tensor([0, 3]))
