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
        drop: points it costs alone, with what comes behind it mended, on tuning data; smoothed, see `scale`.
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
        refits: the operators behind them that were fitted anew.
    """

    model: Model
    bought: tuple[Priced, ...]
    drop: float
    considered: int
    refits: tuple[Made, ...] = ()

    @property
    def made(self) -> tuple[Made, ...]:
        """All that was made."""
        return (*(one.made for one in self.bought), *self.refits)
