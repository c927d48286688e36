"""Cost models with made-up prices, and what a plan costs in them, counted anew."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.charting import chart
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.plan import Region, required_values
from onnx_nepenthe.prices import CostModel
from onnx_nepenthe.regions import Affine, Atlas
from tests.helpers.build import Builder

Chosen = Mapping[str, str | None]
"""Affine value → where its single operator starts, None where its own operator is kept."""


@dataclass(frozen=True)
class MadeUp:
    """Any price for anything, always the same one."""

    seed: int

    def single(self, form: Form, value: str) -> float:
        numbers = np.asarray(form.core.bias if hasattr(form.core, "bias") else form.core.offset)
        return random.Random(f"{self.seed} {value} {numbers.tobytes().hex()}").uniform(1, 10)

    def keep(self, value: Affine, form: Form | None) -> float:
        return random.Random(f"{self.seed} {value.name}").uniform(1, 6)


def atlas_of(model: onnx.ModelProto) -> Atlas:
    return chart(view_from_model(ir.from_proto(model)), {})


def random_atlas(source: random.Random) -> Atlas:
    """Chains, diamonds and ladders of matrix products and sums, some values needed by something nonlinear."""
    g = Builder(np.random.default_rng(source.randrange(1000)))
    values, outputs = ["x"], []
    for _ in range(source.randint(2, 7)):
        if source.random() < 0.6 or len(values) < 3:
            values.append(g.gemm(source.choice(values[-3:]), (4, 4)))
        else:
            values.append(g.node("Add", *source.sample(values[-4:], 2)))
        if source.random() < 0.15:
            outputs.append(g.node("Sigmoid", values[-1]))
    outputs.append(g.node("Sigmoid", values[-1]))
    return atlas_of(g.model({"x": [2, 4]}, outputs))


def kept(atlas: Atlas) -> dict[str, str | None]:
    return dict.fromkeys(atlas.parents, None)


def chosen(atlas: Atlas, regions: Iterable[Region]) -> Chosen:
    return kept(atlas) | {choice.value: choice.source for region in regions for choice in region.choices}


def price(atlas: Atlas, costs: CostModel, choices: Chosen) -> float:
    """Of everything that the required values need, each value once."""
    total, seen, waiting = 0.0, set[str](), [*required_values(atlas)]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in atlas.parents:
            continue
        seen.add(name)
        value, source = atlas.affine[name], choices[name]
        form = None if source is None else atlas.form(source, name)
        if isinstance(form, Form) and source is not None:
            total += costs.single(form, name)
            waiting.append(source)
            continue
        direct = atlas.form(value.operands[0], name) if len(set(value.operands)) == 1 else None
        total += costs.keep(value, direct if isinstance(direct, Form) else None)
        waiting += value.operands
    return total


def every_choice(atlas: Atlas, most: int) -> Iterator[Chosen] | None:
    """All ways to compute every value; None when there are more than `most`."""
    ways: dict[str, list[str | None]] = {}
    count = 1
    for name in atlas.parents:
        operand = atlas.affine[name].operands[0]
        starts = [s for s in atlas.sources(name) if isinstance(atlas.form(s, name), Form)]
        # A matrix product is already the single operator from its operand.
        is_product = atlas.affine[name].op.op_type == "Gemm"
        ways[name] = [None, *(s for s in starts if not (is_product and s == operand))]
        count *= len(ways[name])
    if count > most:
        return None
    return (dict(zip(ways, way, strict=True)) for way in product(*ways.values()))
