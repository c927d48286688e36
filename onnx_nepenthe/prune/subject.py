"""A network under pruning: its sites, the weights that feed them, and what has been taken away so far."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.prune.chains import padding_of, plain_conv
from onnx_nepenthe.prune.lines import line_of
from onnx_nepenthe.prune.records import BoolArray, Layer, Note, Proposal, Site, SiteStatistics
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.running import Inputs
from onnx_nepenthe.prune.sites import find_sites, rectifiers_of
from onnx_nepenthe.prune.weights import from_matrix, matrix_of, matrix_shape, owners, weight_of
from onnx_nepenthe.regimes import FloatArray


class Subject:
    """A traced network and everything that pruning changes in it.

    Attributes:
        module: the network; every call of an activation is a call of its own `Rectifier`. Train it as it is.
        sites: in the order they are called.
        masks: feeder → bool tensor (out, in · taps), True where a weight is still there.
    """

    def __init__(self, module: fx.GraphModule, sites: Sequence[Site]) -> None:
        self.module, self.sites = module, tuple(sites)
        self._rectifiers = rectifiers_of(module)
        feeders = dict.fromkeys(site.feeder for site in self.sites if site.feeder is not None)
        self.masks = {name: torch.ones(matrix_shape(self.feeder(name)), dtype=torch.bool) for name in feeders}
        self._owners = owners({name: self.feeder(name) for name in feeders})

    @classmethod
    def of(cls, module: nn.Module, example_inputs: Inputs, leaves: Sequence[str] = ()) -> Subject:
        """A copy of `module`, ready to be pruned; `module` itself stays as it is.

        Args:
            module: any module that torch.fx can trace.
            example_inputs: one batch of inputs, a tensor or a tuple of tensors.
            leaves: qualified names of submodules that are not looked into; `*` stands for any text.

        Raises:
            UnsupportedError: the module cannot be traced; says which submodule to mark as a leaf. Or two layers share
                a weight that they read in different ways.
            UsageError: a leaf that is not there.
        """
        return cls(*find_sites(module, example_inputs, leaves))

    def site(self, name: str) -> Site:
        """The site of this name.

        Raises:
            UsageError: there is none.
        """
        return self.rectifier(name).site

    def rectifier(self, name: str) -> Rectifier:
        """The module at the site of this name.

        Raises:
            UsageError: there is none.
        """
        if name not in self._rectifiers:
            near = difflib.get_close_matches(name, self._rectifiers, 1)
            raise UsageError(f"no site is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return self._rectifiers[name]

    def feeder(self, name: str) -> nn.Module:
        """The convolution or dense layer of this name."""
        return self.module.get_submodule(name)

    def is_shared(self, feeder: str) -> bool:
        """Whether another feeder has the same weight."""
        return list(self._owners.values()).count(self._owners[feeder]) > 1

    def is_linear(self, name: str) -> bool:
        """Whether the site of this name has become a line."""
        return self.rectifier(name).mode == "line"

    def prunable(self) -> tuple[Site, ...]:
        """The sites that have weights of their own: the first site of each weight, in the order of the graph."""
        fed = [site for site in self.sites if site.feeder is not None]
        first = {self._owner(site): site for site in reversed(fed)}
        return tuple(site for site in fed if first[self._owner(site)] is site)

    def notes(self) -> tuple[Note, ...]:
        """Why each of the other sites is not in `prunable`."""
        prunable = {site.name: site for site in self.prunable()}
        first = {self._owner(site): site for site in prunable.values()}
        return tuple(
            Note(site.name, f"its weights, {site.feeder}, are counted with {first[self._owner(site)].label}")
            if site.feeder is not None
            else Note(site.name, "no convolution or dense layer of its own makes its channels")
            for site in self.sites
            if site.name not in prunable
        )

    def layers(
        self, statistics: Mapping[str, SiteStatistics], sensitivity: Mapping[str, float] | None = None
    ) -> tuple[Layer, ...]:
        """What a method sees: the prunable sites that `statistics` (by name of the site) covers, in order."""
        return tuple(
            self._layer(site, statistics[site.name], (sensitivity or {}).get(site.name))
            for site in self.prunable()
            if site.name in statistics
        )

    def apply(self, proposal: Proposal, statistics: Mapping[str, SiteStatistics]) -> None:
        """Do what a method proposes: masks, lines and channels that are off; weights under a mask become 0.

        A site becomes the line that `lines.line_of` gives for its statistics.

        Raises:
            UsageError: a site or feeder that is not there, or a mask of another shape.
        """
        for feeder, mask in proposal.masks.items():
            self._mask(feeder, mask)
        for name in proposal.linear:
            rectifier = self.rectifier(name)
            rectifier.set_line(*line_of(rectifier, statistics.get(name), proposal.line))
        for name, channels in proposal.off.items():
            self.rectifier(name).turn_off(channels)
        self.enforce()

    @torch.no_grad()
    def enforce(self) -> None:
        """Set every weight under a mask to 0, in place; to be called after every step of an optimiser."""
        for name in self.masks:
            feeder = self.feeder(name)
            weight = weight_of(feeder)
            # It follows the network to its device once, not at every step.
            self.masks[name] = mask = self.masks[name].to(weight.device)
            weight.mul_(from_matrix(feeder, mask))

    def set_padding(self, conv: str, padding: tuple[int, ...]) -> None:
        """Let a convolution pad with this many zeros per spatial axis, on both sides."""
        module = self.module.get_submodule(conv)
        assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        module.padding = tuple(padding)

    def state_dict(self) -> dict[str, Any]:
        """Everything that pruning and training change: weights, masks, lines, channels off, folds, padding.

        As with torch, tensors are the live ones; they may be saved with `torch.save` and loaded with `weights_only`.
        """
        return {"module": self.module.state_dict(), "masks": dict(self.masks), "padding": self._padding()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, bit for bit.

        Raises:
            UnreadableError: it belongs to another network.
        """
        masks = {name: mask.shape for name, mask in state["masks"].items()}
        if masks != {name: mask.shape for name, mask in self.masks.items()}:
            raise UnreadableError("the checkpoint belongs to another network: its prunable layers differ")
        try:
            self.module.load_state_dict(state["module"])
        except RuntimeError as error:
            raise UnreadableError(f"the checkpoint belongs to another network: {_one_line(error)}") from error
        for name, mask in self.masks.items():
            mask.copy_(state["masks"][name])
        for name, padding in state["padding"].items():
            self.set_padding(name, padding)

    def _layer(self, site: Site, statistics: SiteStatistics, sensitivity: float | None) -> Layer:
        assert site.feeder is not None
        rectifier, mask = self.rectifier(site.name), self.masks[site.feeder].cpu().numpy()
        gamma, beta = self._norm(site)
        return Layer(
            replace(site, activation=rectifier.activation),
            matrix_of(self.feeder(site.feeder)) * mask,
            mask.copy(),
            statistics,
            is_linear=rectifier.mode == "line",
            gamma=gamma,
            beta=beta,
            fold=float(rectifier.alpha.detach()) if rectifier.mode == "fold" else None,
            sensitivity=sensitivity,
        )

    def _padding(self) -> dict[str, tuple[int, ...]]:
        convs = {name: plain_conv(module) for name, module in self.module.named_modules()}
        return {name: padding_of(conv) for name, conv in convs.items() if conv is not None}

    def _norm(self, site: Site) -> tuple[FloatArray | None, FloatArray | None]:
        # Behind an addition they would say nothing of z.
        if site.norm is None or not site.norm_is_last:
            return None, None
        norm = self.module.get_submodule(site.norm)
        ones = torch.ones(site.channels)
        gamma, beta = (getattr(norm, name) for name in ("weight", "bias"))
        gamma, beta = ones if gamma is None else gamma, 0 * ones if beta is None else beta
        return gamma.detach().cpu().double().numpy(), beta.detach().cpu().double().numpy()

    def _mask(self, feeder: str, mask: BoolArray) -> None:
        known = self.masks.get(feeder)
        if known is None:
            raise UsageError(f"no site is fed by {feeder!r}; feeders are {', '.join(self.masks) or 'none'}")
        if known.shape != mask.shape:
            raise UsageError(f"a mask of {feeder} has shape {tuple(known.shape)}, not {mask.shape}")
        for name, owner in self._owners.items():
            if owner == self._owners[feeder]:
                self.masks[name] &= torch.as_tensor(mask).to(self.masks[name].device)

    def _owner(self, site: Site) -> str | None:
        return None if site.feeder is None else self._owners[site.feeder]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
