"""What a substitute does to the gain of the exact collapse that follows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from onnx_nepenthe.charting import chart
from onnx_nepenthe.costs import MeasuredCosts
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.plan import Region, plan
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.tables import operator_table
from onnx_nepenthe.workshop import Workshop, any_made

LINE = "line"


@dataclass(frozen=True, eq=False)
class Sequels:
    """Prices what the exact collapse makes of a model with a substitute, by the costs of operators.

    Attributes:
        shop: of the model.
    """

    shop: Workshop

    def gain_ms(self, substitute: Substitute) -> float:
        """Milliseconds that the exact collapse saves more with the substitute than without it.

        A line by itself saves next to nothing: what counts is that the operators around it become one. Any other
        substitute stands where the exact collapse may have saved something already, which is lost then. 0 unless
        latency is measured.
        """
        if self.shop.options.latency != "measured":
            return 0.0
        if substitute.kind != LINE:
            replaced = frozenset(op.label for op in self._view.ops if op.key in substitute.ops)
            return -1e3 * sum(region.gain * _share(region, replaced) for region in self._plain if region.gain > 0)
        if not self._may_compose(substitute):
            return 0.0
        model = self.shop.build([any_made(self.shop, substitute)])
        return max(0.0, 1e3 * (_gain_s(self._planned(model)) - _gain_s(self._plain)))

    def _may_compose(self, line: Substitute) -> bool:
        view = self._view
        users = [view.ops[at] for at in view.consumers.get(line.target, ())]
        return line.source in self._atlas.affine and any(
            name in self._atlas.affine for op in users for name in op.outputs
        )

    def _planned(self, model: Model) -> tuple[Region, ...]:
        view = view_from_model(model)
        return plan(self._charted(view), MeasuredCosts(model, view, operator_table(self.shop.options), self.shop.dims))

    def _charted(self, view: GraphView) -> Atlas:
        return chart(view, self.shop.findings.linearised.decisions, skip=self.shop.options.skip)

    @property
    def _view(self) -> GraphView:
        return self.shop.findings.view

    @cached_property
    def _atlas(self) -> Atlas:
        return self._charted(self._view)

    @cached_property
    def _plain(self) -> tuple[Region, ...]:
        """Of the model as it is."""
        return self._planned(self.shop.findings.model)


def _gain_s(regions: Iterable[Region]) -> float:
    return sum(region.gain for region in regions if region.gain > 0)


def _share(region: Region, replaced: frozenset[str]) -> float:
    """Of the operators that the region replaces, those with these labels."""
    own = [label for choice in region.choices for label in choice.replaced]
    return sum(label in replaced for label in own) / max(len(own), 1)
