"""One call of an activation as a module of its own: counted where it stands, and replaced piece by piece."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.prune.calls import activation_of
from onnx_nepenthe.prune.records import BoolArray, Site
from onnx_nepenthe.regimes import FloatArray

Mode = Literal["active", "line", "fold"]
MODES: tuple[Mode, ...] = ("active", "line", "fold")
"""The function as it was, a line per channel, or a trained mixture of the identity and the function."""


class Rectifier(nn.Module):
    """y = f(z), slope · z + intercept, or alpha · z + (1 - alpha) · f(z); channels that are off give 0 in every mode.

    Everything that decides what it computes is in its state dict, under the same keys in every mode. z is never changed
    in place, so that a forward hook sees it as it came.

    Attributes:
        site: where it stands.
        function: f.
        slope, intercept: parameters (channels,); trained in mode "line" only, the slope not where z adds a skip.
        alpha: parameter (); trained in mode "fold" only.
        off: bool (channels,).
    """

    off: torch.Tensor
    _code: torch.Tensor

    def __init__(self, site: Site, function: nn.Module, like: torch.Tensor) -> None:
        """A rectifier that computes `function`; `like` (z, say) gives shape, dtype and device."""
        super().__init__()
        self.site, self.function, self.shape = site, function, tuple(like.shape)
        placed: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.slope = nn.Parameter(torch.ones(site.channels, **placed), requires_grad=False)
        self.intercept = nn.Parameter(torch.zeros(site.channels, **placed), requires_grad=False)
        self.alpha = nn.Parameter(torch.zeros((), **placed), requires_grad=False)
        self._learnt = frozenset(name for name, own in function.named_parameters() if own.requires_grad)
        self.register_buffer("off", torch.zeros(site.channels, dtype=torch.bool, device=like.device))
        self.register_buffer("_code", torch.zeros((), dtype=torch.uint8, device=like.device))
        self._refresh()

    @property
    def mode(self) -> Mode:
        """What it computes now."""
        return self._mode

    @property
    def activation(self) -> Activation:
        """What `function` computes now; a PReLU's slopes change while it is trained."""
        return activation_of(self.function, self.shape)

    def set_active(self) -> None:
        """Compute the function from now on."""
        self._set_mode("active")

    def set_line(self, slope: npt.ArrayLike, intercept: npt.ArrayLike) -> None:
        """Compute `slope · z + intercept` from now on; both broadcast to (channels,)."""
        self._fill(self.slope, slope)
        self._fill(self.intercept, intercept)
        self._set_mode("line")

    def set_fold(self, alpha: float = 0.0) -> None:
        """Compute `alpha · z + (1 - alpha) · f(z)` from now on, and let alpha be trained.

        Source: Layer Folding (arXiv 2106.09309), ALGORITHMS.md §7.
        """
        self._fill(self.alpha, alpha)
        self._set_mode("fold")

    def learn_function(self) -> None:
        """Train the function's own parameters where it is computed, but for those that came frozen."""
        for name, own in self.function.named_parameters():
            own.requires_grad_(self._mode != "line" and name in self._learnt)

    def turn_off(self, channels: BoolArray) -> None:
        """Give 0 for these channels, bool (channels,), as well as for those that are off already."""
        self.off |= torch.as_tensor(np.asarray(channels, bool)).to(self.off.device)
        self._refresh()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """y, of the shape of z."""
        if self._mode == "line":
            return self._line(z)
        y: torch.Tensor = self.function(z)
        if self._mode == "fold":
            y = self.alpha * z + (1 - self.alpha) * y
        return y * self._along(self._kept(y), z) if self._some_off else y

    def line(self) -> tuple[FloatArray, FloatArray]:
        """Slope and intercept in mode "line", each float64 (channels,), 0 where a channel is off."""
        kept = (~self.off).cpu().numpy()
        slope, intercept = (p.detach().cpu().double().numpy() for p in (self.slope, self.intercept))
        return slope * kept, intercept * kept

    def extra_repr(self) -> str:
        """Mode and channels."""
        return f"{self.site.label}, mode={self._mode}, channels={self.site.channels}, off={int(self.off.sum())}"

    def _line(self, z: torch.Tensor) -> torch.Tensor:
        lines: tuple[torch.Tensor, torch.Tensor] = self.slope, self.intercept
        if self._some_off:
            lines = self.slope * self._kept(self.slope), self.intercept * self._kept(self.intercept)
        return z * self._along(lines[0], z) + self._along(lines[1], z)

    def _kept(self, like: torch.Tensor) -> torch.Tensor:
        return (~self.off).to(like.dtype)

    def _along(self, values: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        # Under autocast y has the type of z, as the function's result would have.
        return values.to(z.dtype).view(-1, *(1,) * (z.dim() - 1 - self.site.axis))

    def _fill(self, parameter: nn.Parameter, values: npt.ArrayLike) -> None:
        with torch.no_grad():
            parameter.copy_(torch.as_tensor(np.asarray(values, np.float64)).expand(parameter.shape))

    def _set_mode(self, mode: Mode) -> None:
        self._code.fill_(MODES.index(mode))
        self._refresh()

    def _refresh(self) -> None:
        """What `forward` asks, kept in Python: asking a tensor on an accelerator would wait for it."""
        self._mode: Mode = MODES[int(self._code)]
        self._some_off = bool(self.off.any())
        for parameter, mode in ((self.slope, "line"), (self.intercept, "line"), (self.alpha, "fold")):
            parameter.requires_grad_(self._mode == mode)
        if self.site.is_sum:
            # A slope that training moved away from 1 would be an operator of its own when the network is shipped.
            self.slope.requires_grad_(False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._refresh()
