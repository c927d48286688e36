"""Press: activations reach zero entropy by training alone; none is replaced.

After a plain training the chosen activations are pressed: the loss contains the entropy regulariser, by default the
hinge, which asks every channel to keep all its pre-activations on one side of the knots, at a distance. No weight is
masked and no activation becomes a line, so that the exported network still holds them, and whoever reads it can see for
himself that they do nothing.

Source: ours; the regulariser is ALGORITHMS.md §7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.pressing import lowest
from onnx_nepenthe.prune.records import Layer, Proposal, Site
from onnx_nepenthe.prune.tuning import Pressure, Surrogate, Tuning


@dataclass(frozen=True)
class PressConfig:
    """Options of pressing."""

    sites: Annotated[str, "which activations: names or labels, with commas; * is any text"] = "*"
    layers: Annotated[int, "how many of them, those of lowest entropy; 0 for all"] = 0
    rounds: Annotated[int, "trainings at most; pressing ends when all of them are at zero entropy"] = 1
    epochs: Annotated[float, "of each, in dense trainings"] = 1.0
    rate: Annotated[float, "peak learning rate, as a share of the recipe's"] = 1.0
    surrogate: Annotated[Surrogate, "what stands for the entropy in the loss"] = "hinge"
    weight: Annotated[float, "of the regulariser, at the end of a training"] = 0.03
    start: Annotated[float, "share of the weight that a training begins with"] = 0.1
    margin: Annotated[float, "of the hinge: distance from the knots, in standard deviations"] = 1.0
    distance: Annotated[float, "of the hinge: distance from the knots at least, in units of z"] = 0.0
    frozen: Annotated[float, "share of a training, at its end, in which BatchNorms use their running statistics"] = 0.1
    off_share: Annotated[float, "a channel is pressed to OFF only when it is OFF this often"] = 0.85

    def __post_init__(self) -> None:
        require(self.layers >= 0, f"layers is {self.layers}; give 1 or more, or 0 for all")
        require(self.rounds >= 1, f"rounds is {self.rounds}; give 1 or more")
        require(min(self.epochs, self.rate) > 0, "epochs and rate must be above 0")
        require(bool(self.patterns), "sites is empty; give names with commas, or * for all")
        require(0 <= self.frozen < 1, f"frozen is {self.frozen}; give a share from 0 to below 1")
        _ = self.pressure

    @property
    def pressure(self) -> Pressure:
        """The regulariser."""
        return Pressure(
            self.weight,
            surrogate=self.surrogate,
            margin=self.margin,
            distance=self.distance,
            off_share=self.off_share,
            start=self.start,
        )

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of names and labels."""
        return tuple(text.strip() for text in self.sites.split(",") if text.strip())


def check(config: PressConfig, sites: Sequence[Site]) -> None:
    """Whether every name stands for a site.

    Raises:
        UsageError: one does not.
    """
    for pattern in config.patterns:
        if not any(_fits(site, pattern) for site in sites):
            known = ", ".join(site.label for site in sites)
            raise UsageError(f"press: no activation is called {pattern!r}; there are {known or 'none'}")


def chosen(config: PressConfig, layers: Sequence[Layer]) -> tuple[str, ...]:
    """Names of the sites that are pressed; lines are not."""
    found = [layer for layer in layers if any(_fits(layer.site, pattern) for pattern in config.patterns)]
    return lowest(found, config.layers or len(found), average="all")


def propose(config: PressConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """A training under pressure, until all that are pressed have no entropy."""
    names = chosen(config, layers)
    if not names:
        return Proposal(done="no activation is left to press")
    pressed = [layer for layer in layers if layer.site.name in names]
    if all(layer.statistics.states.layer_entropy(average="all") == 0 for layer in pressed):
        return Proposal(done=f"{len(pressed)} activations are at zero entropy")
    if context.round > config.rounds:
        return Proposal(done=f"all {config.rounds} trainings under pressure are done")
    epochs = config.epochs * context.dense_epochs
    return Proposal(tuning=Tuning(epochs, config.rate, names, config.pressure, frozen=config.frozen))


def _fits(site: Site, pattern: str) -> bool:
    return fnmatchcase(site.name, pattern) or fnmatchcase(site.label, pattern)


METHODS.register("press")(
    Method(
        name="press",
        summary="activations reach zero entropy by training under the entropy regulariser; none is replaced",
        paper="ours",
        config=PressConfig,
        propose=propose,
        average="all",
        fits=check,
        tunes=True,
    )
)
