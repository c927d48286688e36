"""What an operator costs: the interface of cost models and the analytic ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from onnx_nepenthe.affine.cost import Cost, concrete, form_cost
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv
from onnx_nepenthe.regions import Affine


class CostModel(Protocol):
    """Prices operators; any unit, smaller is better."""

    def single(self, form: Form, value: str) -> float:
        """Price of computing `value` by `form`."""

    def keep(self, value: Affine, form: Form | None) -> float:
        """Price of leaving the operator of `value`; `form` in terms of its operand, if it has one."""

    def floor(self, outline: Form, replaced: Sequence[str]) -> float:
        """A price that no operator of this outline can be below; `replaced` are values that `keep` was asked for."""


@dataclass(frozen=True)
class EveryExact:
    """`--latency off`: as few operators as possible, weighted ones first."""

    dims: Mapping[str, int]

    def single(self, form: Form, value: str) -> float:
        """Weighted operators count 10^6, others 10^3 (a border half as much); then multiply-adds."""
        cost = form_cost(form, self.dims)
        bordered = isinstance(form.core, Conv) and form.core.border is not None
        return _operators(cost) - (500.0 if bordered else 0.0)

    def keep(self, value: Affine, form: Form | None) -> float:
        """As `single`, for the operator as it is."""
        return _operators(kept_cost(value, form, self.dims))

    def floor(self, outline: Form, replaced: Sequence[str]) -> float:
        """As `single`, without a border; whether there is one is not known yet."""
        return _operators(form_cost(outline, self.dims))


@dataclass(frozen=True)
class MultiplyAdds:
    """`--latency macs`: multiply-adds, with elements and operators at rough prices beside them."""

    dims: Mapping[str, int]
    element: float = 16.0
    node: float = 20_000.0

    def single(self, form: Form, value: str) -> float:
        """In multiply-adds."""
        return self._price(form_cost(form, self.dims))

    def keep(self, value: Affine, form: Form | None) -> float:
        """In multiply-adds."""
        return self._price(kept_cost(value, form, self.dims))

    def floor(self, outline: Form, replaced: Sequence[str]) -> float:
        """In multiply-adds."""
        return self._price(form_cost(outline, self.dims))

    def _price(self, cost: Cost) -> float:
        return cost.macs + self.element * cost.elements + self.node * cost.nodes


def _operators(cost: Cost) -> float:
    return 1e6 * cost.weighted + 1e3 * cost.nodes + 1e-12 * cost.macs


def kept_cost(value: Affine, form: Form | None, dims: Mapping[str, int]) -> Cost:
    """Analytic cost of an operator as it is."""
    if form is not None and not value.rectifier:
        cost = form_cost(form, dims)
        if cost.weighted:
            return cost
        return Cost(0, cost.elements, 0, 1)
    shape = value.op.output_shapes[value.output]
    elements = 1
    for size in concrete(shape or (), dims):
        elements *= size
    return Cost(0, elements, 0, 1)
