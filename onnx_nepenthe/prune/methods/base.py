"""What a pruning method is: a frozen config and a pure function over layer statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_type_hints

import numpy as np

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.records import Attempt, BoolArray, Layer, Proposal, Site
from onnx_nepenthe.registry import Registry

Need = Literal["classes", "sums", "sensitivity", "fold"]
"""Statistics that cost extra: per class, for lines, loss change per site, a trained share of the identity per site."""


@dataclass(frozen=True, eq=False)
class Context:
    """What a method knows besides the layers.

    Attributes:
        round: 1 for the first proposal.
        rounds: how many there will be at most.
        rng: the only source of randomness.
        dense_epochs: of one full training.
        spent: epochs of all trainings so far, the dense one included.
        history: what became of each proposal so far, in order.
    """

    round: int
    rounds: int
    rng: np.random.Generator
    dense_epochs: float = 0.0
    spent: float = 0.0
    history: tuple[Attempt, ...] = ()


Propose = Callable[[Any, Sequence[Layer], Context], Proposal]
"""(config, layers in the order of the graph, context) → what to do before the next training; changes nothing."""


@dataclass(frozen=True, eq=False)
class Method:
    """One published (or our own) way to prune.

    Attributes:
        name: as on the command line.
        summary: one line for `--list-methods`.
        paper: where it comes from ("arXiv 2404.16890").
        config: frozen dataclass whose fields are the method's options, each with the paper's default.
        propose: see `Propose`.
        start: where the next training starts from: the weights that survive, or the initial ones under the mask (SAP).
        needs: statistics that cost extra.
        tie, average: how the paper counts z = 0 and averages over neurons (ALGORITHMS.md §1).
        off: channels, bool (channels,), that become 0 with the activation of a layer; its sensitivity is measured so.
        fits: (config, the prunable sites) → None; raises where they do not go together, before anything is trained.
        tunes: its trainings are not those of the recipe, so that it needs the built-in trainer.
        retries: after a round below the threshold it proposes again from the last good one; the others stop there.
    """

    name: str
    summary: str
    paper: str
    config: type
    propose: Propose
    start: Literal["survivors", "rewind"] = "survivors"
    needs: frozenset[Need] = frozenset()
    tie: Literal["drop", "below", "above"] = "drop"
    average: Literal["non-degenerate", "all"] = "non-degenerate"
    off: Callable[[Layer], BoolArray] | None = None
    fits: Callable[[Any, Sequence[Site]], None] | None = None
    retries: bool = False
    tunes: bool = False


METHODS: Registry[Method] = Registry("method")
"""Name on the command line → method; filled when the package is imported, one method a file."""


def option_docs(config: type) -> dict[str, str]:
    """Name of every option of a config → its line of help, in the order of the fields.

    A config annotates its fields with it: `rounds: Annotated[int, "rounds at most"] = 9`.
    """
    hints = get_type_hints(config, include_extras=True)
    return {entry.name: str(hints[entry.name].__metadata__[0]) for entry in fields(config)}


def require(is_met: bool, complaint: str) -> None:
    """For the checks of a config.

    Raises:
        UsageError: not met; says the complaint.
    """
    if not is_met:
        raise UsageError(complaint)
