"""Sessions of large models take turns, as each has a copy of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy.typing as npt

from onnx_nepenthe.opview import Tensor

Array = npt.NDArray[Any]


class Runner(Protocol):
    """What runs a model here: a `session.Session` or a `graph.reference.ReferenceRunner`."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs for `feeds`."""


class Resting:
    """A runner that is there only from its first run to the next rest.

    Attributes:
        inputs, outputs: those it will have.
    """

    def __init__(self, open_runner: Callable[[], Runner], like: Runner) -> None:
        """Open nothing yet.

        Args:
            open_runner: opens it.
            like: a runner of the same inputs and outputs.
        """
        self._open = open_runner
        self._runner: Runner | None = None
        self.inputs = like.inputs
        self.outputs = like.outputs

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs for `feeds`."""
        if self._runner is None:
            self._runner = self._open()
        return self._runner.run(feeds)

    def rest(self) -> None:
        """Close it until it is run again."""
        self._runner = None
