"""Samples on their way through a model and a changed copy of it, kept as far as nothing changes any more.

What comes behind a value that every path passes through needs that value alone, so a fit or a score far down the model
runs only the rest of it. Memory is bounded: what does not fit is computed again from the value before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.snippet import made_in, rest, with_outputs
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.plan import Region
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.session import SessionConfig, open_session
from onnx_nepenthe.verify import Batch

Array = npt.NDArray[Any]
Values = Mapping[str, Array]
KEPT_BYTES = 1 << 28
"""Of values kept, of both models together."""


@dataclass(frozen=True, eq=False)
class _Row:
    """One batch, where both models have got to; `size` of its samples are real, None: all is about one."""

    now: Values
    then: Values
    size: int | None


class Tape:
    """Batches that can be gone through again and again.

    Args:
        model: the original (onnx_ir), not changed.
        view: of it.
        config: how to run.
        batches: gives the batches anew.

    Attributes:
        at: the value that both models have got to; "" for their inputs.
    """

    def __init__(
        self, model: Model, view: GraphView, config: SessionConfig, batches: Callable[[], Iterable[Batch]]
    ) -> None:
        self.at = ""
        self._model, self._view, self._config, self._batches = model, view, config, batches
        self._kept: list[_Row] | None = None

    def fork(self) -> Tape:
        """Another one that has got as far; what the two do from now on is apart."""
        other = Tape(self._model, self._view, self._config, self._batches)
        other.at, other._kept = self.at, self._kept
        return other

    def part(self, outputs: Sequence[str], regions: Sequence[Region]) -> Model:
        """The model from `at` on with those rewrites that lie behind it."""
        base = (
            rest(self._model, self._view.tensors[self.at], outputs) if self.at else with_outputs(self._model, outputs)
        )
        made = made_in(base)
        part: Model = rewrite(base, self._view, [region for region in regions if region.name in made])
        return part

    def values(
        self, now: Sequence[str], then: Sequence[str], regions: Sequence[Region]
    ) -> Iterator[tuple[Values, Values]]:
        """Batch by batch, these values of the model with `regions` and those of the original; real samples only."""
        changed, original = self._runner(now, regions), self._runner(then, ())
        for row in self._rows():
            yield _real(changed(row.now), row.size), _real(original(row.then), row.size)

    def advance(self, name: str, regions: Sequence[Region]) -> bool:
        """Go on to `name`, if it can be kept; all that changes from now on must lie behind it."""
        try:
            rest(self._model, self._view.tensors[name], self._view.outputs)
            changed, original = self._runner([name], regions), self._runner([name], ())
        except ValueError:
            return False
        kept: list[_Row] = []
        size = 0
        for row in self._rows():
            then = {name: original(row.then)[name]}
            now = {name: changed(row.now)[name]} if regions else then
            size += then[name].nbytes + (now[name].nbytes if regions else 0)
            if size > KEPT_BYTES:
                return False
            kept.append(_Row(now, then, row.size))
        self._kept, self.at = kept, name
        return True

    def _rows(self) -> Iterator[_Row]:
        if self._kept is not None:
            yield from self._kept
            return
        for batch in self._batches():
            is_one = batch.whole or all(len(array) == 1 for array in batch.feeds.values() if array.ndim)
            yield _Row(batch.feeds, batch.feeds, None if is_one else batch.size)

    def _runner(self, names: Sequence[str], regions: Sequence[Region]) -> Callable[[Values], dict[str, Array]]:
        """What makes these values of those at hand; what is at hand already is not made."""
        known = {self.at} if self.at else set(self._view.inputs)
        wanted = list(dict.fromkeys(name for name in names if name not in known))
        if not wanted:
            return lambda values: {name: np.asarray(values[name]) for name in names}
        session = open_session(self.part(wanted, regions), self._config)
        return lambda values: dict(values) | dict(zip(wanted, session.run(values), strict=True))


def _real(values: Values, size: int | None) -> Values:
    return values if size is None else {name: array[:size] if array.ndim else array for name, array in values.items()}
