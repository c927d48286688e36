"""The built-in training, and somebody's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate.state import AcceleratorState  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from onnx_nepenthe.prune.losses import Pass  # noqa: E402
from onnx_nepenthe.prune.recipe import Recipe  # noqa: E402
from onnx_nepenthe.prune.records import Proposal  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.trainer import Trainer  # noqa: E402
from onnx_nepenthe.prune.training import Job, Midway, OwnTraining, require_tuning  # noqa: E402

RECIPE = Recipe(epochs=3, batch=20, lr=0.1, schedule="cosine")


@pytest.fixture(autouse=True)
def _one_state_a_test() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def data(samples: int = 100) -> TensorDataset:
    x = torch.randn(samples, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long())


def subject(activation: nn.Module | None = None) -> Subject:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), activation or nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    return Subject.of(nn.Sequential(*net, nn.Linear(8, 2)), torch.zeros(2, 4))


def masked() -> Subject:
    own = subject()
    mask = np.ones((8, 4), bool)
    mask[::2] = False
    own.apply(Proposal(masks={"0": mask}, linear=(own.sites[1].name,)), {})
    return own


def weights(own: Subject) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in own.module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, optimiser="adamw", lr=0.03, clip=1.0, smoothing=0.1)])
def test_training_learns(recipe: Recipe) -> None:
    own, trainer = subject(), Trainer(replace(recipe, epochs=12), cpu=True)
    before = trainer.evaluate(own.module, data())
    epochs = trainer.train(own, data(), Job(trainer.recipe))
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].loss < epochs[0].loss
    assert trainer.evaluate(own.module, data()) > before + 0.1
    assert not own.module.training


def test_masked_weights_stay_zero_and_lines_stay_lines() -> None:
    own, trainer = masked(), Trainer(RECIPE, cpu=True)
    line = own.rectifier(own.sites[1].name)
    before = line.line()[0].copy()
    trainer.train(own, data(), Job(RECIPE))
    assert (own.module.get_submodule("0").weight[::2] == 0).all()  # type: ignore[index]
    assert (own.module.get_submodule("0").weight[1::2] != 0).all()  # type: ignore[index]
    assert line.mode == "line"
    assert not np.array_equal(line.line()[0], before), "a line is trained too"


def test_lines_are_not_decayed() -> None:
    own, trainer = masked(), Trainer(replace(RECIPE, weight_decay=0.5, lr=1e-9, optimiser="adamw"), cpu=True)
    before = weights(own)
    trainer.train(own, data(), Job(replace(trainer.recipe, lr=1e-3)))
    after, line = weights(own), own.rectifier(own.sites[1].name)
    assert np.abs(line.line()[0] - 1).max() < 0.02
    assert (after["5.weight"].norm() < before["5.weight"].norm()) or not torch.equal(
        after["5.weight"], before["5.weight"]
    )


def test_a_seed_gives_the_same_weights_and_each_round_its_own_order() -> None:
    def trained(number: int, seed: int = 0) -> dict[str, torch.Tensor]:
        own, recipe = subject(), replace(RECIPE, seed=seed)
        Trainer(recipe, cpu=True).train(own, data(), Job(recipe, number))
        return weights(own)

    assert equal(trained(1), trained(1))
    assert not equal(trained(1), trained(2))
    assert not equal(trained(1), trained(1, seed=1))


def test_parts_of_a_batch_add_up_to_it() -> None:
    def trained(accumulate: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        own = Subject.of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(2, 4))
        recipe = replace(RECIPE, accumulate=accumulate)
        Trainer(recipe, cpu=True).train(own, data(), Job(recipe))
        return weights(own)

    whole, parts = trained(1), trained(4)
    assert all(torch.allclose(value, parts[name], atol=1e-6) for name, value in whole.items())


def test_a_training_goes_on_after_any_epoch_as_if_it_had_not_stopped() -> None:
    saved: list[tuple[Midway, dict[str, Any]]] = []
    own, trainer = masked(), Trainer(RECIPE, cpu=True)

    def keep(midway: Midway) -> None:
        state = {"module": weights(own), "masks": {name: mask.clone() for name, mask in own.masks.items()}}
        optimiser = torch.utils._pytree.tree_map(lambda v: v.clone() if torch.is_tensor(v) else v, midway.optimiser)
        saved.append((replace(midway, optimiser=optimiser), own.state_dict() | state))

    whole = trainer.train(own, data(), Job(RECIPE, 4, after_epoch=keep))
    assert len(saved) == 3
    for midway, state in saved:
        again = subject()
        again.load_state_dict(state)
        epochs = trainer.train(again, data(), Job(RECIPE, 4, midway=midway))
        assert equal(weights(again), weights(own))
        assert [epoch.loss for epoch in epochs] == [epoch.loss for epoch in whole]


def test_a_fraction_of_an_epoch_takes_a_fraction_of_its_steps() -> None:
    own, trainer = subject(), Trainer(RECIPE, cpu=True)
    (epoch,) = trainer.train(own, data(), Job(RECIPE.short(0.4)))
    assert epoch.share == pytest.approx(0.4)
    first, second = trainer.train(own, data(), Job(RECIPE.short(1.2)))
    assert (first.share, second.share) == (1, pytest.approx(0.2))


def test_terms_see_the_pre_activations_they_ask_for_and_are_added() -> None:
    own, trainer = subject(), Trainer(RECIPE, cpu=True)
    name = own.sites[0].name

    class Term:
        sites = (name,)

        def __call__(self, seen: Pass) -> torch.Tensor:
            assert seen.z[name].shape == (20, 8)
            return 100 + seen.z[name].square().mean()

    (epoch, *_) = trainer.train(own, data(), Job(RECIPE, terms=[Term()]))
    assert epoch.loss > 100
    assert not own.rectifier(name)._forward_pre_hooks


def test_terms_know_how_far_the_training_is() -> None:
    done: list[float] = []

    class Term:
        sites = ()

        def __call__(self, seen: Pass) -> torch.Tensor:
            done.append(seen.done)
            return torch.zeros(())

    Trainer(RECIPE, cpu=True).train(subject(), data(), Job(replace(RECIPE, epochs=2), terms=[Term()]))
    assert done == pytest.approx([(step + 0.5) / 10 for step in range(10)])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_norms_use_their_running_statistics_in_the_last_share_of_a_training(share: float) -> None:
    recipe = replace(RECIPE, epochs=2, frozen=share, optimiser="adamw")
    own, saved = subject(), []

    def keep(_midway: Midway) -> None:
        saved.append(weights(own))

    Trainer(RECIPE, cpu=True).train(own, data(), Job(recipe, after_epoch=keep))
    first, last = saved
    assert torch.equal(first["1.running_mean"], last["1.running_mean"]) == (share > 0)
    assert not torch.equal(first["1.weight"], last["1.weight"]), "its own parameters still learn"


def test_vectors_may_learn_faster_and_then_do_not_decay() -> None:
    recipe = replace(RECIPE, epochs=0.2, lr=1e-3, schedule="constant", optimiser="adamw", weight_decay=100.0)
    moved = {}
    for factor in (1.0, 4.0):
        own, trainer = subject(), Trainer(RECIPE, cpu=True)
        before = weights(own)
        trainer.train(own, data(), Job(replace(recipe, vectors=factor)))
        moved[factor] = {name: weights(own)[name] - before[name] for name in ("0.weight", "1.weight")}
    # One step of Adam is as long as the rate; decay takes a tenth of a norm's weight of 1.
    assert moved[4.0]["1.weight"].abs().numpy() == pytest.approx(4e-3, rel=0.01)
    assert (moved[1.0]["1.weight"] < -0.09).all()
    assert torch.equal(moved[1.0]["0.weight"], moved[4.0]["0.weight"])


def test_a_loss_that_is_not_finite_stops_the_training(caplog: pytest.LogCaptureFixture) -> None:
    class Nan:
        sites = ()

        def __call__(self, seen: Pass) -> torch.Tensor:
            return seen.outputs.sum() * float("nan")

    with caplog.at_level(logging.WARNING):
        epochs = Trainer(RECIPE, cpu=True).train(subject(), data(), Job(RECIPE, terms=[Nan()]))
    assert len(epochs) == 1
    assert "training stops" in caplog.text


def test_half_precision_computes_in_it_every_time_and_leaves_a_plain_module() -> None:
    recipe = replace(RECIPE, precision="bf16", epochs=1)
    own, trainer = subject(), Trainer(recipe, cpu=True)
    before, found = set(vars(own.module)), []
    own.rectifier(own.sites[1].name).register_forward_pre_hook(lambda _module, args: found.append(args[0].dtype))
    for number in (0, 1):
        (epoch,) = trainer.train(own, data(), Job(recipe, number))
        assert 0 < epoch.loss < 2
    assert found == [torch.bfloat16] * 10
    assert set(vars(own.module)) == before
    assert own.module(torch.zeros(2, 4)).dtype == torch.float32


def test_two_precisions_in_one_process_are_refused() -> None:
    Trainer(replace(RECIPE, precision="bf16"), cpu=True)
    with pytest.raises(UsageError, match="precision no: "):
        Trainer(RECIPE, cpu=True)


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(UsageError, match="precision fp16 needs a GPU"):
        Trainer(replace(RECIPE, precision="fp16"), cpu=True)


def test_accuracy_and_loss_are_means_over_samples_whatever_the_batch() -> None:
    own, samples = subject(), data(101)
    own.module.eval()
    outputs, targets = own.module(samples.tensors[0]), samples.tensors[1]
    for batch in (7, 200):
        trainer = Trainer(replace(RECIPE, batch=batch), cpu=True)
        assert trainer.evaluate(own.module, samples) == float((outputs.argmax(1) == targets).double().mean())
        loss = float(nn.functional.cross_entropy(outputs, targets).detach())
        assert trainer.loss(own.module, samples) == pytest.approx(loss, rel=1e-5)
    first = nn.functional.cross_entropy(outputs[:14], targets[:14])
    assert Trainer(replace(RECIPE, batch=7), cpu=True).loss(own.module, samples, 10) == pytest.approx(
        float(first.detach())
    )


def test_a_criterion_and_a_score_of_ones_own() -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    samples = TensorDataset(x, x[:, :2] ** 2)
    trainer = Trainer(
        replace(RECIPE, epochs=20, lr=0.02),
        criterion=lambda outputs, targets, _smoothing: nn.functional.mse_loss(outputs, targets),
        score=lambda outputs, targets: -(outputs - targets).square().mean(dim=1),
        cpu=True,
    )
    own = subject()
    before = trainer.evaluate(own.module, samples)
    trainer.train(own, samples, Job(trainer.recipe))
    assert before < trainer.evaluate(own.module, samples) < 0


def test_data_without_targets_cannot_be_trained_or_evaluated_on() -> None:
    trainer, bare = Trainer(RECIPE, cpu=True), TensorDataset(torch.zeros(40, 4))
    with pytest.raises(UsageError, match="the training data have no targets"):
        trainer.train(subject(), bare, Job(RECIPE))
    with pytest.raises(UsageError, match="accuracy and loss need them"):
        trainer.evaluate(subject().module, bare)


def test_a_loader_of_ones_own_is_trained_on() -> None:
    own, trainer = subject(), Trainer(RECIPE, cpu=True)
    loader = DataLoader(data(), 20, shuffle=True)
    epochs = trainer.train(own, loader, Job(RECIPE))
    again = subject()
    assert [e.loss for e in trainer.train(again, loader, Job(RECIPE))] == [e.loss for e in epochs]
    assert equal(weights(own), weights(again))


def test_a_prelu_that_became_a_line_is_trained_again_when_it_is_active_again() -> None:
    own, trainer = subject(nn.PReLU()), Trainer(RECIPE, cpu=True)
    rectifier = own.rectifier(own.sites[0].name)
    slope = next(rectifier.function.parameters())
    rectifier.set_line(1.0, 0.0)
    before = slope.detach().clone()
    trainer.train(own, data(), Job(RECIPE))
    assert torch.equal(slope.detach(), before)
    rectifier.set_active()
    trainer.train(own, data(), Job(RECIPE))
    assert not torch.equal(slope.detach(), before)


def test_your_own_train_keeps_masked_weights_at_zero_after_every_step() -> None:
    own, samples, zeros = masked(), data(), []

    def train(module: nn.Module, number: int) -> None:
        optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(number):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(samples.tensors[0]), samples.tensors[1]).backward()
            optimiser.step()
            zeros.append(bool((module.get_submodule("0").weight[::2] == 0).all()))  # type: ignore[index]

    training = OwnTraining(train, lambda module: 0.25, epochs=7)
    assert training.train(own, samples, Job(training.recipe, 3)) == ()
    assert zeros == [True] * 3
    assert training.recipe.epochs == 7
    assert training.evaluate(own.module, samples) == 0.25
    assert training.loss(own.module, samples) == 0.75
    assert sum(len(inputs[0]) for inputs, _ in training.batches(samples)) == 100
    weight = own.module.get_submodule("0").weight
    weight.grad = torch.ones_like(weight)  # type: ignore[arg-type]
    torch.optim.SGD([weight], lr=1.0).step()  # type: ignore[list-item]
    assert (weight[::2] == -1).all(), "outside of a training nobody is watched"  # type: ignore[index]


def test_your_own_train_cannot_be_told_how_long() -> None:
    with pytest.raises(UsageError, match="fast needs the built-in trainer"):
        require_tuning(OwnTraining(lambda module, number: None, lambda module: 0.0), "fast")


def test_a_batch_too_small_for_a_norm() -> None:
    with pytest.raises(UsageError, match="cannot be trained on a batch of 1: Expected more than 1 value"):
        Trainer(replace(RECIPE, batch=1), cpu=True).train(subject(), data(), Job(replace(RECIPE, batch=1)))


@pytest.mark.parametrize("is_frozen", [True, False])
def test_slopes_that_came_frozen_stay_as_they_are(is_frozen: bool) -> None:
    own = subject(nn.PReLU().requires_grad_(not is_frozen))
    name = next(name for name, _ in own.module.named_parameters() if name.endswith("function.weight"))
    Trainer(RECIPE, cpu=True).train(own, data(), Job(RECIPE))
    assert (float(own.module.get_parameter(name).detach()) == 0.25) == is_frozen
