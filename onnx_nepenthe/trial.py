"""Time what was planned against what is there: region by region, then the whole model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.costs import entrances, form_signature, op_signature, random_input, with_fused
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph import serial
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.snippet import cut
from onnx_nepenthe.graph.stats import ModelSize, model_size
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.latency import Comparison, compare, compare_in_turns
from onnx_nepenthe.plan import Region, passed_by, required_values
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.rewrite import computed_weights, rewrite
from onnx_nepenthe.session import SessionConfig, open_session
from onnx_nepenthe.starting import on_disk

LOG = logging.getLogger(__name__)
Feeds = Mapping[str, npt.NDArray[np.generic]]
REGION_BUDGET_S = 0.6
SECOND_LOOK_S = 4.0
"""For a region whose first timing leaves open whether it is worth having."""
OPEN = 0.1
"""An interval this wide leaves it open. So does a loss below it of what is smaller: two sessions may differ as much."""
WORTH_SAVING = 0.99
"""Bytes of weights, relative to before, below which fewer of them alone are worth a rewrite."""
LOWEST_TIE = 0.98
"""A measured ratio below it is no tie, however wide the interval."""
MODEL_BUDGET_S = 6.0
MOST_GROWTH = 1.1
"""A model that is no faster may have this many times the bytes of weights, for fewer operators."""


@dataclass(frozen=True)
class RegionTrial:
    """A region's part of the model as it was against as planned.

    Attributes:
        region: which one.
        comparison: None when it could not be, or need not be, timed.
        is_smaller: no more bytes of weights and no more operators than before, and fewer of one of them.
    """

    region: Region
    comparison: Comparison | None
    is_smaller: bool

    @property
    def refusal(self) -> str:
        """Why the region is left as it is; "" when it is taken: faster, or as fast and smaller."""
        if self.comparison is None or self.comparison.is_faster or (self.is_smaller and not self.comparison.is_slower):
            return ""
        ratio = f"{self.comparison.speedup:.2f}x"
        if self.comparison.is_slower:
            return f"slower on this provider than what it replaces ({ratio})"
        return f"no faster on this provider ({ratio}), and not smaller"


def try_regions(
    model: Model,
    atlas: Atlas,
    regions: Iterable[Region],
    *,
    dims: Mapping[str, int],
    config: SessionConfig,
    rng: np.random.Generator,
    progress: Callable[[int], None] | None = None,
) -> tuple[RegionTrial, ...]:
    """Time every region by itself; equal ones (same operators and shapes) once, and those that need no operator never.

    Cut out of a model, such a region would be timed against the Identity that the cut needs.
    """
    known: dict[str, tuple[Comparison | None, bool]] = {}
    required = required_values(atlas)
    trials: list[RegionTrial] = []
    for count, region in enumerate(regions, start=1):
        if all(choice.is_nothing for choice in region.choices):
            trials.append(RegionTrial(region, None, True))
            continue
        part = _part(atlas, region, required)
        key = _key(atlas, region, part, dims)
        if key not in known:
            known[key] = _time_region(model, atlas.view, region, part, dims, config, rng)
        trials.append(RegionTrial(region, *known[key]))
        if progress is not None:
            progress(count)
    return tuple(trials)


@dataclass(frozen=True)
class _Part:
    """Where the part of a model that a region changes begins and ends."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _part(atlas: Atlas, region: Region, required: frozenset[str]) -> _Part:
    """Values on the way that are needed whatever happens are outputs too: the region does not save their operators."""
    made = {choice.value for choice in region.choices}
    started = {source for choice in region.choices for source in choice.sources}
    ends = [with_fused(atlas.view, choice.value) for choice in region.choices if choice.value not in started]
    passed = [name for choice in region.choices for name in passed_by(atlas, choice)]
    stay = [name for name in passed if name in required and name not in made]
    inputs = [source for choice in region.choices for source in choice.sources if source not in made]
    return _Part(tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys([*ends, *stay])))


def _key(atlas: Atlas, region: Region, part: _Part, dims: Mapping[str, int]) -> str:
    """Equal for regions that take equally long: the same new operators for the same old ones, wired alike."""
    numbers: dict[str, int] = {}
    parts: list[object] = []
    for choice in region.choices:
        passed = passed_by(atlas, choice)
        for name in (*choice.sources, *passed):
            numbers.setdefault(name, len(numbers))
        made = (choice.form, *(form for _, form in choice.beside))
        forms = [[form_signature(form), concrete(form.source, dims)] for form in made]
        old = [[op_signature(atlas.affine[name].op, dims), _wires(atlas, name, numbers)] for name in passed]
        parts.append([[numbers[source] for source in choice.sources], forms, old])
    ends = [[numbers.get(name, -1), op.op_type if (op := atlas.view.op_of(name)) else ""] for name in part.outputs]
    return json.dumps([parts, ends])


def _wires(atlas: Atlas, name: str, numbers: Mapping[str, int]) -> list[int]:
    return [numbers[name], *(numbers.get(operand, -1) for operand in atlas.affine[name].operands)]


def _time_region(
    model: Model,
    view: GraphView,
    region: Region,
    part: _Part,
    dims: Mapping[str, int],
    config: SessionConfig,
    rng: np.random.Generator,
) -> tuple[Comparison | None, bool]:
    entered = entrances(view, part.inputs, dims)
    feeds = {entrance.name: random_input(entrance.shape, entrance.dtype) for entrance in entered}
    try:
        before = cut(model, entered, part.outputs)
        after = rewrite(before, view, [region])
        smaller = _is_smaller(model_size(view_from_model(before)), model_size(view_from_model(after)))
        first = compare_models(before, after, feeds, config, rng, REGION_BUDGET_S)
        if not _is_open(first, smaller):
            return first, smaller
        return compare_models(before, after, feeds, config, rng, SECOND_LOOK_S), smaller
    except (UnsupportedError, ValueError, KeyError) as error:
        LOG.info("region %s cannot be timed by itself: %s", region.name, error)
        return None, False


def _is_open(comparison: Comparison, is_smaller: bool) -> bool:
    """Whether other sessions and more time may well say something else."""
    if comparison.is_slower:
        return is_smaller and comparison.speedup > 1 - OPEN
    widest = max(comparison.high - comparison.low, comparison.control_high - comparison.control_low)
    return comparison.is_tie and widest > OPEN


def _is_smaller(before: ModelSize, after: ModelSize) -> bool:
    if after.weight_bytes > before.weight_bytes or after.nodes > before.nodes:
        return False
    return after.nodes < before.nodes or after.weight_bytes < WORTH_SAVING * before.weight_bytes


def compare_models(
    before: Model,
    after: Model,
    feeds: Feeds,
    config: SessionConfig,
    rng: np.random.Generator,
    budget_s: float = MODEL_BUDGET_S,
) -> Comparison:
    """Models against each other, with a second session of `before` as control; large ones take turns in memory.

    Raises:
        UnsupportedError: one of them cannot be run.
        NepentheError: no room for files of large ones.
    """
    if max(serial.weight_bytes(model) for model in (before, after)) > serial.LARGEST_MESSAGE_BYTES:
        with on_disk(before) as one, on_disk(after) as two:
            first, second = partial(open_session, one, config), partial(open_session, two, config)
            return compare_in_turns(first, second, feeds, rng=rng, budget_s=budget_s, threads=config.threads)
    a, b, control = (open_session(model, config) for model in (before, after, before))
    return compare(a, b, feeds, rng=rng, control=control, budget_s=budget_s, threads=config.threads)


def settle(
    model: Model,
    view: GraphView,
    trials: Sequence[RegionTrial],
    timed: Callable[[Model], Comparison],
) -> tuple[tuple[Region, ...], Model | None, Comparison | None]:
    """The regions that make the whole model not slower: all accepted ones, or fewer.

    While the whole is slower than its input (or seems so, where the interval is too wide to tell) twice in a row, the
    half of the regions that gained least is put back. Where it is as fast and not smaller, so are the regions that
    are not smaller by themselves: what they gained is nothing here.

    Returns:
        The regions kept, the model with them, and its comparison with the input; (), None, None when none is left
        and nothing is computed from constants alone.
    """
    kept = [trial for trial in trials if not trial.refusal]
    while kept or computed_weights(view):
        regions = tuple(trial.region for trial in kept)
        candidate = rewrite(model, view, regions)
        comparison = timed(candidate)
        if loses(comparison):
            comparison = timed(candidate)
        if not loses(comparison):
            smaller = [trial for trial in kept if trial.is_smaller]
            worth = comparison.is_faster or _is_worth_it(model_size(view), model_size(view_from_model(candidate)))
            if worth or len(smaller) == len(kept):
                return regions, candidate, comparison
            LOG.info("the whole model is as fast and not smaller; putting back what is not smaller by itself")
            kept = smaller
            continue
        if not kept:
            break
        LOG.info("the whole model is slower (%.3fx); putting back the weaker half", comparison.speedup)
        ranked = sorted(kept, key=lambda trial: trial.comparison.speedup if trial.comparison else 1.0, reverse=True)
        best = {trial.region.name for trial in ranked[: len(kept) // 2]}
        kept = [trial for trial in kept if trial.region.name in best]
    return (), None, None


def _is_worth_it(before: ModelSize, after: ModelSize) -> bool:
    """Whether a model that is no faster is better: smaller in some way, and hardly larger in bytes."""
    if after.weight_bytes > MOST_GROWTH * before.weight_bytes:
        return False
    gained = (after.nodes < before.nodes, after.weight_bytes < WORTH_SAVING * before.weight_bytes)
    return any(gained) or after.weighted_depth < before.weighted_depth


def loses(comparison: Comparison) -> bool:
    """Whether the second model may be slower than the first."""
    return comparison.is_slower or comparison.speedup < LOWEST_TIE
