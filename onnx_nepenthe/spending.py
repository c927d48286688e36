"""Records of a budgeted collapse."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.workshop import Made


@dataclass(frozen=True, eq=False)
class Priced:
    """A substitute that was scored alone.

    Attributes:
        made: with its map.
        drop: points of the metric it costs alone, on tuning data; smoothed, see `budget.price`.
        gain_ms: milliseconds it saves alone.
    """

    made: Made
    drop: float
    gain_ms: float


@dataclass(frozen=True, eq=False)
class Spending:
    """What was bought.

    Attributes:
        model: with the substitutes.
        bought: the substitutes, refitted one after the other.
        drop: points on the tuning data of all together.
        considered: how many substitutes were scored.
    """

    model: Model
    bought: tuple[Priced, ...]
    drop: float
    considered: int
