"""Fast: several activations at once become fitted lines, each time with a short fine-tuning; depth by bisection.

EASIER removes one activation per full training. Here a round removes as many as lie half-way between the deepest
removal that held and the shallowest that failed, the cheapest first: by the measured change of the loss when a site
alone becomes the line fitted to it, with its entropy as the prior. A fine-tuning starts from the fitted lines, learns
from the dense network, and presses the next candidates towards one regime. A round below theta is taken back, and the
next one removes fewer. All trainings together, the dense one included, keep within a budget of dense trainings.

Source: ours; the fitted line and the ranking are ALGORITHMS.md §8, the pressure §7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Annotated

import numpy as np

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.records import Attempt, Layer, Proposal
from onnx_nepenthe.prune.tuning import Distillation, Pressure, Tuning

ROUNDING = 1e-9


@dataclass(frozen=True)
class FastConfig:
    """Options of the fast schedule."""

    budget: Annotated[float, "epochs of all trainings, the dense one included, in dense trainings"] = 2.0
    depth: Annotated[int, "activations that go at most; 0 for as many as theta allows"] = 0
    shortest: Annotated[float, "shortest fine-tuning, in dense trainings"] = 0.05
    step: Annotated[float, "where the next depth lies between the last that held and the first that failed"] = 0.5
    tries: Annotated[int, "single activations tried one after another when no two can go together"] = 1
    near: Annotated[float, "a round below theta by up to so much (a share of 1) is trained on, while that helps"] = 0.01
    extensions: Annotated[int, "how often it is trained on at most"] = 2
    polish: Annotated[float, "of the budget, kept for a last fine-tuning of what was reached, in dense trainings"] = 0.1
    rate: Annotated[float, "peak learning rate of a fine-tuning, as a share of the recipe's"] = 0.5
    prior: Annotated[float, "weight of the entropy in the ranking; the mean sensitivity counts 1"] = 0.5
    pressure: Annotated[float, "weight of the entropy pressure on the next candidates; 0 for none"] = 0.02
    distillation: Annotated[float, "weight of learning from the dense network; 0 for none"] = 0.5
    temperature: Annotated[float, "of the distillation"] = 4.0

    def __post_init__(self) -> None:
        require(self.budget > 1, f"budget is {self.budget:g}; the dense training is 1 of it, give more")
        require(self.depth >= 0, f"depth is {self.depth}; give 0 or more")
        require(0 < self.shortest < self.budget, f"shortest is {self.shortest:g}; give a share above 0")
        require(0 < self.step <= 1, f"step is {self.step:g}; give a share above 0 and up to 1")
        require(self.tries >= 1, f"tries is {self.tries}; give 1 or more")
        require(min(self.near, self.extensions) >= 0, "near and extensions must be 0 or more")
        require(self.rate > 0, f"rate is {self.rate:g}; give a share above 0")
        require(min(self.prior, self.pressure, self.distillation, self.polish) >= 0, "weights must be 0 or more")
        require(self.temperature > 0, f"temperature is {self.temperature:g}; give a number above 0")


@dataclass(frozen=True)
class Span:
    """Where the depth that can be reached lies.

    Attributes:
        held: activations removed so far.
        failed: the smallest number that was tried and failed; one more than there are when none did.
        singles: names of those that failed alone since the last round that held.
    """

    held: int
    failed: int
    singles: tuple[str, ...] = ()


def span(layers: Sequence[Layer], context: Context) -> Span:
    """What the rounds so far say about it."""
    held = sum(layer.is_linear for layer in layers)
    singles: tuple[str, ...] = ()
    depth, failures = held - _removed(context), [len(layers) + 1]
    for attempt in context.history:
        if attempt.is_accepted:
            depth, singles = depth + len(attempt.linear), ()
            continue
        failures.append(depth + len(attempt.linear))
        if len(attempt.linear) == 1 and not attempt.continues:
            singles = (*singles, *attempt.linear)
    # What failed from where the network was then may have held since.
    return Span(held, min(failure for failure in failures if failure > held), singles)


def ranked(config: FastConfig, layers: Sequence[Layer]) -> list[Layer]:
    """The layers by what it costs to make them lines, the cheapest first.

    Cost = measured change of the loss, in units of the mean size of such changes, + prior · entropy in bits.
    """
    changes = np.array([layer.sensitivity or 0.0 for layer in layers])
    unit = float(np.abs(changes).mean()) if len(changes) else 0.0
    entropy = np.array([layer.statistics.states.layer_entropy(average="all") for layer in layers])
    cost = changes / (unit or 1.0) + config.prior * entropy
    return [layers[at] for at in np.argsort(cost, kind="stable").tolist()]


def propose(config: FastConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """The cheapest activations, as many as the bisection says; or those that failed narrowly once more."""
    found, again = span(layers, context), extended(config, context.history)
    left = [layer for layer in layers if not layer.is_linear and (again or layer.site.name not in found.singles)]
    room = config.budget * context.dense_epochs - context.spent
    free, shortest = room - config.polish * context.dense_epochs, config.shortest * context.dense_epochs
    reason = _end(config, found, left, free, shortest, again)
    if reason:
        return _polished(config, context, room if room >= shortest else 0.0, reason)
    order = [layer.site.name for layer in ranked(config, left)]
    count = max(1, int(config.step * (found.failed - found.held)))
    chosen = again or tuple(order[: min(count, config.depth - found.held) if config.depth else count])
    others = [name for name in order if name not in chosen]
    epochs = context.history[-1].epochs if again else max(shortest, free / _rounds(config, found))
    press = tuple(others[: max(1, len(chosen) // 2)])
    return Proposal(linear=chosen, tuning=_tuning(config, min(free, epochs), press), continues=bool(again))


def _polished(config: FastConfig, context: Context, room: float, reason: str) -> Proposal:
    """What is left of the budget improves the network that is there, once, if anything was taken from it."""
    is_done = any(not attempt.linear for attempt in context.history)
    if is_done or not room or not _removed(context):
        return Proposal(done=reason)
    return Proposal(tuning=_tuning(config, room, ()), polishes=True)


def _tuning(config: FastConfig, epochs: float, press: tuple[str, ...]) -> Tuning:
    pressure = Pressure(weight=config.pressure) if config.pressure else None
    distillation = Distillation(config.distillation, config.temperature) if config.distillation else None
    return Tuning(epochs, config.rate, press, pressure, distillation)


def extended(config: FastConfig, history: Sequence[Attempt]) -> tuple[str, ...]:
    """What failed narrowly in the last round, if it is worth training on; otherwise nothing."""
    if not history or history[-1].is_accepted or history[-1].missing > config.near:
        return ()
    tries = [history[-1]]
    while tries[0].continues:
        tries.insert(0, history[len(history) - len(tries) - 1])
    has_helped = len(tries) == 1 or tries[-1].missing < tries[-2].missing
    return tries[-1].linear if has_helped and len(tries) <= config.extensions else ()


def _rounds(config: FastConfig, found: Span) -> int:
    """A bisection takes so many rounds more; the epochs that are left are shared out among them."""
    gap = found.failed - found.held
    if gap <= 1:
        return max(1, config.tries - len(found.singles))
    return 1 + ceil(log(gap) / -log(1 - config.step)) if config.step < 1 else 2


def _end(
    config: FastConfig, found: Span, left: Sequence[Layer], free: float, shortest: float, again: Sequence[str]
) -> str:
    if free < shortest * (1 - ROUNDING):
        return f"the budget of {config.budget:g} dense trainings is spent"
    if again:
        return ""
    if config.depth and found.held >= config.depth:
        return f"{found.held} activations are lines, as many as were asked for"
    if found.failed <= found.held + 1 and len(found.singles) >= config.tries:
        return f"none of {config.tries} single activations could go"
    return "" if left else "no activation is left to try"


def _removed(context: Context) -> int:
    return sum(len(attempt.linear) for attempt in context.history if attempt.is_accepted)


METHODS.register("fast")(
    Method(
        name="fast",
        summary="several activations at once become fitted lines, with short fine-tunings; two dense trainings in all",
        paper="ours",
        config=FastConfig,
        propose=propose,
        needs=frozenset({"sums", "sensitivity"}),
        retries=True,
    )
)
