"""The exact half without measuring anything: what the pipeline does between loading and verifying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx
import onnx_ir as ir

from onnx_nepenthe.charting import chart
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.linearise import Linearised, linearise
from onnx_nepenthe.plan import Region, plan
from onnx_nepenthe.prices import CostModel, EveryExact, MultiplyAdds
from onnx_nepenthe.prove import bounds_of, describe, prove_regimes
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.rewrite import rewrite

Decisions = Literal["proved", "none"]
Latency = Literal["off", "macs"] | CostModel
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Stages:
    """Everything between the model and its rewrite."""

    model: ir.Model
    view: GraphView
    linearised: Linearised
    atlas: Atlas
    regions: tuple[Region, ...]


def proved(view: GraphView, ranges: Ranges) -> Linearised:
    """Decide the rectifiers that need no data."""
    rectifiers, _ = find_rectifiers(view)
    bounds = bounds_of(view, ranges)
    facts = {}
    for rectifier in rectifiers:
        z = bounds[rectifier.operand]
        pieces = prove_regimes(rectifier.activation, z, rectifier.channels or 1, rectifier.axis or 0)
        facts[rectifier.key] = (pieces, describe(z))
    return linearise(rectifiers, facts, {})


def stages(
    model: onnx.ModelProto, decisions: Decisions = "proved", latency: Latency = "off", ranges: Ranges | None = None
) -> Stages:
    """Decide everything, change nothing."""
    loaded = ir.from_proto(model)
    view = view_from_model(loaded)
    linearised = proved(view, ranges or {}) if decisions == "proved" else Linearised({}, {})
    atlas = chart(view, linearised.decisions)
    prices: CostModel
    match latency:
        case "off":
            prices = EveryExact({})
        case "macs":
            prices = MultiplyAdds({})
        case _:
            prices = latency
    return Stages(loaded, view, linearised, atlas, plan(atlas, prices))


def collapse_exact(
    model: onnx.ModelProto, decisions: Decisions = "proved", latency: Latency = "off", ranges: Ranges | None = None
) -> onnx.ModelProto:
    """`model` with everything collapsed that is proved to be exact."""
    found = stages(model, decisions, latency, ranges)
    return ir.to_proto(rewrite(found.model, found.view, found.regions))
