"""The loop of rounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch import nn  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

from onnx_nepenthe.prune.batches import Splits  # noqa: E402
from onnx_nepenthe.prune.loop import run  # noqa: E402
from onnx_nepenthe.prune.losses import task_loss  # noqa: E402
from onnx_nepenthe.prune.methods import METHODS, Context, Method  # noqa: E402
from onnx_nepenthe.prune.methods.fast import FastConfig  # noqa: E402
from onnx_nepenthe.prune.methods.layer_folding import LayerFoldingConfig  # noqa: E402
from onnx_nepenthe.prune.records import Layer, Note, Proposal  # noqa: E402
from onnx_nepenthe.prune.rounds import Event, Theta  # noqa: E402
from onnx_nepenthe.prune.settings import Settings  # noqa: E402
from onnx_nepenthe.prune.subject import Subject  # noqa: E402
from onnx_nepenthe.prune.trainer import Trainer  # noqa: E402
from onnx_nepenthe.prune.training import OwnTraining  # noqa: E402
from onnx_nepenthe.prune.tuning import Distillation, Pressure, Tuning  # noqa: E402
from tests.helpers.pruning import RECIPE, SHORT, Scripted, pruned, same, splits, subject, weights  # noqa: E402


@dataclass(frozen=True)
class Nothing:
    """A method without options."""


def method(propose: Callable[[Sequence[Layer], Context], Proposal], **more: Any) -> Method:
    return Method("own", "", "", Nothing, lambda _config, layers, context: propose(layers, context), **more)


def one_by_one(layers: Sequence[Layer], context: Context) -> Proposal:
    left = [layer.site.name for layer in layers if not layer.is_linear]
    return Proposal(linear=tuple(left[-1:]), done="" if left else "nothing left")


def test_it_trains_counts_proposes_and_trains_again() -> None:
    own = subject()
    result = pruned(own, method(one_by_one), rounds=5)
    assert [len(entry.linear) for entry in result.rounds] == [0, 1, 2, 3]
    assert [entry.phase for entry in result.rounds] == ["dense", "round", "round", "round"]
    assert result.reason == "nothing left"
    assert result.chosen == 3
    assert result.epochs == 16
    assert [entry.epochs for entry in result.rounds] == [4, 4, 4, 4]
    assert result.dense.accuracy > 0.85
    assert result.final.accuracy < 0.75, "without a rectifier it is a line"
    assert result.test is not None
    assert result.dense_test is not None
    assert result.dense_test > result.test
    assert set(result.dense.entropy) == {site.name for site in own.sites}
    assert all(entry.seconds_s > 0 for entry in result.rounds)
    assert result.seconds_s == pytest.approx(sum(entry.seconds_s for entry in result.rounds))
    json.dumps(result.to_json())


def test_below_theta_it_goes_back_to_the_last_good_round() -> None:
    own, kept = subject(), []

    def tell(event: Event) -> None:
        if event.round is not None and event.number == 1:
            kept.append(weights(own))

    result = pruned(
        own, method(one_by_one), training=Scripted(0.95, 0.91, 0.89), theta=Theta(accuracy=0.9), rounds=5, tell=tell
    )
    assert [entry.is_accepted for entry in result.rounds] == [True, True, False]
    assert result.rounds[2].missing == pytest.approx(0.01)
    assert result.reason == "round 2 fell to 0.8900, below theta, 0.9000"
    assert result.chosen == 1
    assert same(weights(own), kept[0])
    assert not own.module.training


def test_theta_may_be_points_below_the_dense_network() -> None:
    result = pruned(subject(), method(one_by_one), training=Scripted(0.95, 0.93, 0.9299), theta=Theta(points=2.0))
    assert [entry.is_accepted for entry in result.rounds] == [True, True, False]
    assert result.theta == pytest.approx(0.93)


def test_a_dense_network_below_theta_is_left_alone() -> None:
    result = pruned(subject(), method(one_by_one), training=Scripted(0.5), theta=Theta(accuracy=0.9))
    assert result.reason == "the dense network is at 0.5000, below theta, 0.9000"
    assert len(result.rounds) == 1
    assert result.chosen == 0


def test_it_ends_after_so_many_rounds() -> None:
    result = pruned(subject(), method(one_by_one), recipe=SHORT, rounds=2)
    assert result.reason == "all 2 rounds are done"
    assert len(result.rounds) == 3


def test_a_round_that_the_budget_of_epochs_does_not_cover_does_not_begin() -> None:
    result = pruned(subject(), method(one_by_one), recipe=SHORT, max_epochs=2.5, rounds=5)
    assert result.reason == "2 of 2.5 epochs are spent, and the next round takes 1"
    assert result.epochs == 2


def test_weights_that_were_given_are_the_dense_network() -> None:
    own, before = subject(), weights(subject())
    result = pruned(own, method(lambda *_: Proposal(done="no")), is_trained=True)
    assert result.epochs == 0
    assert same(weights(own), before)
    assert result.dense.epochs == 0


def test_a_method_knows_what_has_been() -> None:
    seen: list[Context] = []

    def propose(layers: Sequence[Layer], context: Context) -> Proposal:
        seen.append(context)
        return replace(one_by_one(layers, context), tuning=Tuning(epochs=0.5, scale=0.1))

    training = Scripted(0.9, 0.5, 0.95)
    settings = {"theta": Theta(accuracy=0.8), "settle": Tuning(epochs=0.25), "rounds": 2}
    pruned(subject(), method(propose, retries=True), training=training, **settings)
    first, second = seen
    assert (first.round, first.rounds, first.dense_epochs, first.spent, first.history) == (1, 2, 1, 1.25, ())
    assert (second.round, second.spent) == (2, 1.75)
    (attempt,) = second.history
    assert (attempt.is_accepted, attempt.accuracy, attempt.epochs) == (False, 0.5, 0.5)
    assert attempt.missing == pytest.approx(0.3)
    assert len(attempt.linear) == 1
    given: list[Context] = []

    def only(layers: Sequence[Layer], context: Context) -> Proposal:
        given.append(context)
        return Proposal(done="no")

    pruned(subject(), method(only), recipe=SHORT, is_trained=True)
    assert given[0].spent == 1, "a dense training that somebody else did counts"


def test_draws_of_a_method_are_the_same_in_every_run() -> None:
    seen: list[float] = []

    def propose(layers: Sequence[Layer], context: Context) -> Proposal:
        seen.append(float(context.rng.random()))
        return one_by_one(layers, context)

    for _ in range(2):
        pruned(subject(), method(propose), recipe=SHORT)
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


def test_only_what_a_method_needs_is_measured() -> None:
    seen: list[Layer] = []

    def propose(layers: Sequence[Layer], _context: Context) -> Proposal:
        seen[:] = layers
        return Proposal(done="no")

    pruned(subject(), method(propose), recipe=SHORT)
    assert seen[0].statistics.sums is None
    assert seen[0].statistics.classes is None
    assert seen[0].sensitivity is None
    pruned(subject(), method(propose, needs=frozenset({"sums", "classes", "sensitivity"})), recipe=SHORT)
    assert seen[0].statistics.sums is not None
    assert seen[0].statistics.classes is not None
    assert seen[0].statistics.classes.classes == (0, 1)
    assert [layer.sensitivity is not None for layer in seen] == [True] * 3
    assert len({layer.sensitivity for layer in seen}) == 3


def test_after_a_failure_a_method_that_retries_proposes_again_from_the_last_good_network() -> None:
    own = subject()
    first, second, third = (site.name for site in own.sites)
    masks = {"0": np.eye(16, 2, dtype=bool)}
    script = iter([Proposal(linear=(first,)), Proposal(linear=(second,), masks=masks), Proposal(linear=(third,))])
    training = Scripted(0.9, 0.9, 0.5, 0.9)
    result = pruned(
        own, method(lambda *_: next(script), retries=True), training=training, theta=Theta(accuracy=0.8), rounds=3
    )
    assert [entry.is_accepted for entry in result.rounds] == [True, True, False, True]
    assert result.final.linear == tuple(sorted((first, third)))
    assert own.masks["0"].all()


def test_a_round_that_failed_may_be_trained_on() -> None:
    own = subject()
    name = own.sites[0].name
    script = iter([Proposal(linear=(name,)), Proposal(linear=(name,), continues=True), Proposal(done="enough")])
    ends: dict[int, Any] = {}

    def tell(event: Event) -> None:
        if event.epoch is not None:
            ends[event.number] = weights(own)

    training = Scripted(0.9, 0.5, 0.9)
    theta = Theta(accuracy=0.8)
    result = pruned(own, method(lambda *_: next(script), retries=True), training=training, theta=theta, tell=tell)
    assert [entry.is_accepted for entry in result.rounds] == [True, False, True]
    assert [entry.continues for entry in result.rounds] == [False, False, True]
    assert result.rounds[2].linear == (name,)
    assert result.rounds[2].removed == (name,)
    assert not same(ends[1], ends[2])
    slope = own.rectifier(name).slope
    assert slope.requires_grad
    assert (slope != 1).any()


@pytest.mark.parametrize(("accuracy", "is_kept"), [(0.91, True), (0.89, False)])
def test_polishing_is_kept_unless_accuracy_falls(accuracy: float, is_kept: bool) -> None:
    own = subject()
    script = iter([Proposal(linear=(own.sites[0].name,)), Proposal(polishes=True), Proposal(done="enough")])
    training = Scripted(0.95, 0.9, accuracy)
    theta = Theta(accuracy=0.8)
    result = pruned(own, method(lambda *_: next(script), retries=True), training=training, theta=theta, rounds=5)
    assert [entry.phase for entry in result.rounds] == ["dense", "round", "polish"]
    assert result.rounds[2].is_accepted is is_kept
    assert result.chosen == (2 if is_kept else 1)
    assert result.final.linear == (own.sites[0].name,)


def diverging(at: int) -> Trainer:
    """Its loss is not finite from the `at`-th training on."""
    trainings = 0

    class Diverging(Trainer):
        def train(self, *args: Any) -> Any:
            nonlocal trainings
            trainings += 1
            return super().train(*args)

    def criterion(outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        return task_loss(outputs, targets, smoothing) * (1 if trainings < at else float("nan"))

    return Diverging(SHORT, criterion=criterion, cpu=True)


def test_a_round_whose_loss_is_not_finite_is_taken_back() -> None:
    own = subject()
    result = pruned(own, method(one_by_one), training=diverging(2))
    assert [entry.is_accepted for entry in result.rounds] == [True, False]
    assert result.rounds[1].notes == (Note("", "the loss was not finite in epoch 1: training stopped there"),)
    assert result.rounds[1].missing == 1
    assert all(value.isfinite().all() for value in weights(own).values())
    assert result.to_json()["rounds"][1]["losses"][0]["loss"] is None


def test_a_dense_network_whose_loss_is_not_finite_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"not finite in epoch 1; lower the learning rate, 0\.05"):
        pruned(subject(), method(one_by_one), training=diverging(1))


def test_notes_and_events_are_passed_on() -> None:
    events: list[Event] = []
    note = Note("a", "too thin")
    result = pruned(subject(), method(lambda *_: Proposal(linear=("_2",), notes=(note,))), rounds=1, tell=events.append)
    assert result.rounds[1].notes == (note,)
    epochs = [(event.phase, event.number, event.epoch.number) for event in events if event.epoch is not None]
    assert epochs == [("dense", 0, at) for at in (1, 2, 3, 4)] + [("round", 1, at) for at in (1, 2, 3, 4)]
    assert {event.epochs for event in events if event.epoch is not None} == {4}
    assert [event.round for event in events if event.round is not None] == list(result.rounds)


def test_weights_rewind_under_masks_and_lines() -> None:
    """With a learning rate of nothing, the network after a round is the initial one under its mask."""
    own, initial = subject(), weights(subject())
    mask = np.ones((16, 16), bool)
    mask[3:] = False
    rewound = method(lambda *_: Proposal(masks={"3": mask}, linear=("_2",)), start="rewind")
    pruned(own, rewound, recipe=replace(SHORT, lr=1e-30), rounds=1)
    after = weights(own)
    assert torch.equal(after["0.weight"], initial["0.weight"])
    assert torch.equal(after["3.weight"], initial["3.weight"] * torch.from_numpy(mask))
    assert torch.equal(after["mask of 3"], torch.from_numpy(mask))
    assert own.is_linear("_2")


def test_survivors_go_on_from_where_they_were() -> None:
    own, initial = subject(), weights(subject())
    pruned(own, method(lambda *_: Proposal(linear=("_2",))), rounds=1)
    assert not torch.equal(weights(own)["0.weight"], initial["0.weight"])


def test_layer_folding_trains_shares_of_the_identity_first() -> None:
    own, modes = subject(), {}

    def tell(event: Event) -> None:
        if event.epoch is not None:
            modes[event.phase] = {own.rectifier(site.name).mode for site in own.sites}

    result = pruned(own, "layer-folding", LayerFoldingConfig(threshold=0.3), rounds=1, tell=tell)
    assert modes == {"dense": {"active"}, "fold": {"fold"}, "round": {"active", "line"}}
    assert result.rounds[1].epochs == 8
    assert result.epochs == 12
    assert 0 < len(result.final.linear) < 3


def test_folds_that_reach_nothing_end_the_run_and_count() -> None:
    own = subject()
    result = pruned(own, "layer-folding", recipe=SHORT, rounds=3)
    assert result.reason == "no activation is 0.9 identity"
    assert result.epochs == 2
    assert {own.rectifier(site.name).mode for site in own.sites} == {"active"}
    cheap = pruned(subject(), "layer-folding", recipe=SHORT, rounds=3, max_epochs=1.5)
    assert cheap.reason == "1 of 1.5 epochs are spent, and the next round takes 1"


def entropy_of(name: str, **more: Any) -> float:
    result = pruned(subject(), method(lambda *_: Proposal(linear=("_2",))), rounds=1, **more)
    return result.rounds[1].entropy[name]


def test_any_method_may_be_given_pressure_on_the_lowest_entropies() -> None:
    pressure = Pressure(weight=3.0, layers=2)
    assert entropy_of("_8", pressure=pressure) < entropy_of("_8") - 0.1


def test_any_method_may_learn_from_the_dense_network() -> None:
    """With everything else at rest, the loss of the first step is the task's, and the divergence from the teacher."""
    losses = []
    for distillation in (None, Distillation(weight=5.0)):
        own = subject()
        settings = {"distillation": distillation, "recipe": replace(SHORT, lr=1e-30), "rounds": 1}
        result = pruned(own, method(lambda *_: Proposal(linear=("_2",))), **settings)
        losses.append(result.rounds[1].losses[0].loss)
    assert losses[1] > losses[0] + 1e-3


class Convs(nn.Module):
    """Two padded convolutions with a rectifier between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))  # type: ignore[no-any-return]


def images() -> TensorDataset:
    x = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0, 1, 1] > 0).long())


@pytest.mark.parametrize(("accuracy", "is_kept"), [(0.9, True), (0.1, False)])
def test_padding_moves_before_a_last_fine_tuning(accuracy: float, is_kept: bool) -> None:
    torch.manual_seed(0)
    own = Subject.of(Convs(), torch.zeros(2, 1, 4, 4))
    first: Any = own.module.get_submodule("first")
    second: Any = own.module.get_submodule("second")
    name = own.sites[0].name
    script = iter([Proposal(linear=(name,)), Proposal(done="enough")])
    settings = Settings(Theta(accuracy=0.5), settle=Tuning(epochs=0.5))
    data, training = Splits(images(), images(), images()), Scripted(0.9, 0.9, accuracy)
    result = run(own, method(lambda *_: next(script)), Nothing(), data, training, settings)
    assert [entry.phase for entry in result.rounds] == ["dense", "round", "settle"]
    assert result.rounds[2].epochs == 0.5
    assert result.rounds[2].is_accepted is is_kept
    assert result.reason == "enough"
    assert (first.padding, second.padding) == (((2, 2), (0, 0)) if is_kept else ((1, 1), (1, 1)))


def test_where_no_padding_can_move_nothing_is_settled() -> None:
    result = pruned(subject(), method(one_by_one), recipe=SHORT, rounds=1, settle=Tuning(epochs=0.5))
    assert len(result.rounds) == 2


def test_your_own_callables_do() -> None:
    own, calls, data = subject(), [], splits().train.tensors  # type: ignore[union-attr]

    def train(module: nn.Module, number: int) -> None:
        calls.append(number)
        optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(5):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(data[0]), data[1]).backward()
            optimiser.step()

    accuracies = iter([0.9, 0.9, 0.4])
    training = OwnTraining(train, lambda module: next(accuracies), epochs=3)
    result = run(
        own,
        method(one_by_one),
        Nothing(),
        Splits(splits().train),
        training,
        Settings(Theta(accuracy=0.5), rounds=5),
    )
    assert calls == [0, 1, 2]
    assert result.epochs == 9
    assert result.chosen == 1
    assert (result.test, result.dense_test) == (None, None)


def test_your_own_test_is_called_at_the_end() -> None:
    tested: list[nn.Module] = []
    training = OwnTraining(lambda module, number: None, lambda module: 0.9, test=lambda m: tested.append(m) or 0.7)  # type: ignore[func-returns-value]
    result = pruned(subject(), method(one_by_one), training=training, rounds=1)
    assert (result.test, result.dense_test) == (0.7, 0.7)
    assert len(tested) == 2


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("fast", {}, "fast needs the built-in trainer"),
        ("press", {}, "press needs the built-in trainer"),
        ("layer-folding", {}, "layer-folding needs the built-in trainer"),
        ("easier", {"pressure": Pressure()}, "pressure needs the built-in trainer"),
        ("easier", {"distillation": Distillation()}, "distillation needs the built-in trainer"),
        ("easier", {"settle": Tuning(epochs=1)}, "settle needs the built-in trainer"),
    ],
)
def test_what_your_own_training_cannot_do_is_said_at_once(name: str, more: dict[str, Any], message: str) -> None:
    training = OwnTraining(lambda module, number: None, lambda module: 1.0)
    with pytest.raises(UsageError, match=message):
        pruned(subject(), name, training=training, **more)


def test_settings_that_cannot_be_are_refused() -> None:
    for epochs in (None, 0.0, -1.0):
        with pytest.raises(UsageError, match="settle: say how many epochs"):
            pruned(subject(), settle=Tuning(epochs))
    with pytest.raises(UsageError, match="rounds is 0"):
        pruned(subject(), rounds=0)
    with pytest.raises(UsageError, match="sensitivity_samples is 0"):
        pruned(subject(), sensitivity_samples=0)
    with pytest.raises(UsageError, match="no validation data"):
        run(
            subject(),
            METHODS["easier"],
            METHODS["easier"].config(),
            Splits(splits().train),
            Trainer(SHORT, cpu=True),
            Settings(Theta(accuracy=0.5)),
        )


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_runs(name: str) -> None:
    result = pruned(subject(), name, recipe=SHORT, rounds=2)
    assert result.method == name
    assert result.reason


def test_a_name_that_a_network_has_not_got_is_known_before_it_is_trained() -> None:
    with pytest.raises(UsageError, match="no activation is called 'stem'"):
        pruned(subject(), "press", METHODS["press"].config(sites="stem"), training=Scripted())


def test_pressing_reaches_zero_entropy_and_replaces_nothing() -> None:
    config = METHODS["press"].config(layers=1, weight=0.3, epochs=2.0)
    result = pruned(own := subject(), "press", config, recipe=replace(RECIPE, epochs=10), theta=Theta(accuracy=0.5))
    (name,) = result.final.zero
    assert result.chosen == 1
    assert result.dense.entropy[name] > 0.1
    assert (result.final.linear, result.final.sparsity) == ((), 0.0)
    assert {own.rectifier(site.name).mode for site in own.sites} == {"active"}
    assert all(bool(mask.all()) for mask in own.masks.values())


def test_fast_reaches_the_depth_of_easier_within_two_dense_trainings() -> None:
    recipe, theta = replace(RECIPE, epochs=10), Theta(accuracy=0.86)
    easier = pruned(subject(4), "easier", recipe=recipe, theta=theta, rounds=12)
    fast = pruned(subject(4), "fast", recipe=recipe, theta=theta, rounds=12)
    assert len(fast.final.linear) >= len(easier.final.linear) == 3
    assert fast.final.accuracy >= theta.of(0.0)
    assert fast.final.accuracy >= easier.final.accuracy - 0.03
    assert easier.epochs == 50
    assert fast.epochs <= 20 + 1e-9
    assert fast.epochs == pytest.approx(sum(entry.epochs for entry in fast.rounds))


@pytest.mark.parametrize("budget", [1.2, 3.0])
def test_fast_keeps_within_any_budget(budget: float) -> None:
    config = FastConfig(budget=budget, tries=3)
    result = pruned(subject(4), "fast", config, recipe=replace(RECIPE, epochs=3), theta=Theta(points=0.5), rounds=50)
    assert result.epochs <= budget * 3 + 1e-9


def test_the_last_fine_tuning_is_within_the_budget_of_epochs() -> None:
    settle = Tuning(epochs=1.0)
    result = pruned(subject(), method(one_by_one), recipe=SHORT, max_epochs=2.5, rounds=5, settle=settle)
    assert "the last fine-tuning 1" in result.reason
    assert result.epochs <= 2.5
