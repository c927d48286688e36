"""Regions as graphs: operators, shapes, evidence; each value once; ends that say where the part begins."""

from __future__ import annotations

from typing import Any

import pytest

from onnx_nepenthe.report.drawings import MOST_DRAWN, dims, others, regions
from onnx_nepenthe.report.json import plain, record_of_outcome
from tests.helpers import outcomes

EXACT = {"speedup": None, "evidence": None, "region": "r"}


def drawn(label: str, op: str, inputs: list[str], output: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "op": op, "inputs": inputs, "output": output, "shape": [1, 2], "weight": []} | more


def record(*rewrites: dict[str, Any]) -> dict[str, Any]:
    return {"rectifier_rows": [], "rewrites": [EXACT | rewrite for rewrite in rewrites]}


def branches() -> dict[str, Any]:
    """y = a(x) + x."""
    before = [drawn("a", "Conv", ["x"], "v"), drawn("b", "Add", ["v", "x"], "y")]
    return {"value": "y", "source": "x", "made": "Conv 1x1 2→2", "before": {"operators": before, "shape": [1, 2]}}


def test_a_chain_is_drawn_with_its_ends_shapes_and_rectifiers() -> None:
    (region,) = regions(plain(record_of_outcome(outcomes.outcome())))
    nodes = region["before"]["nodes"]
    assert [node["kind"] for node in nodes] == ["operator", "rectifier", "operator", "value", "value"]
    assert nodes[0]["lines"] == ["layer1/conv", "weight 4×8×1×1"]
    assert nodes[1]["lines"] == ["layer1/relu", "3 ON, 1 OFF", "seen 300×"]
    assert region["before"]["edges"] == [
        (3, 0, "N×8×14×14"),
        (0, 1, "N×4×14×14"),
        (1, 2, "N×4×14×14"),
        (2, 4, "N×16×14×14"),
    ]
    assert [node["title"] for node in region["after"]["nodes"]] == ["Conv 3x3 8→16", "from", "to"]
    assert region["grounds"][0] == "exact as long as the rectifiers in it are lines"
    assert (region["count"], region["speedup"]) == (3, 1.75)


def test_branches_meet_and_a_value_is_one_node() -> None:
    (region,) = regions(record(branches()))
    assert region["before"]["edges"] == [(2, 0, "1×2"), (0, 1, "1×2"), (2, 1, "1×2"), (1, 3, "1×2")]
    assert region["grounds"] == ["exact: nothing but linear operators"]


def test_rewrites_of_one_region_are_one_drawing_and_hang_together() -> None:
    second = {
        "value": "z",
        "source": "y",
        "made": "Dense 2→3, odd",
        "before": {"operators": [drawn("c", "Gemm", ["y"], "z")], "shape": [1, 2]},
    }
    (region,) = regions(record(branches(), second))
    titles = [node["title"] for node in region["after"]["nodes"]]
    assert titles == ["Conv 1x1 2→2", "Dense 2→3", "from", "to"]
    assert [edge[:2] for edge in region["after"]["edges"]] == [(2, 0), (0, 1), (1, 3)]
    assert region["made"] == ["Conv 1x1 2→2", "Dense 2→3, odd"]


def test_what_has_no_picture_is_listed() -> None:
    cut = {"value": "v", "source": "v", "made": "8 channels fewer", "before": {"operators": [], "shape": None}}
    gone = branches() | {"made": "nothing", "region": "other"}
    found = record(cut, gone)
    assert [one["value"] for one in others(found)] == ["v"]
    (region,) = regions(found)
    assert region["made"] == ["nothing"]
    assert region["after"]["nodes"][0]["kind"] == "gone"


def test_a_part_that_is_too_large_is_listed_and_not_drawn() -> None:
    chain = [drawn(f"c{at}", "Conv", [f"v{at}"], f"v{at + 1}") for at in range(MOST_DRAWN + 1)]
    large = {
        "value": f"v{MOST_DRAWN + 1}",
        "source": "v0",
        "made": "Conv",
        "before": {"operators": chain, "shape": [1]},
    }
    (region,) = regions(record(large))
    assert (region["before"], region["after"], len(region["rows"])) == (None, None, MOST_DRAWN + 1)


def test_a_fit_says_so() -> None:
    fitted = branches() | {"evidence": {"kind": "fitted", "residual": 0.25}}
    (region,) = regions(record(fitted))
    assert region["grounds"] == ["fitted, residual 0.25"]


@pytest.mark.parametrize(("shape", "words"), [(["N\x1b", 3], "N\ufffd×3"), (None, "shape not known"), ([], "scalar")])
def test_shapes_in_words(shape: list[Any] | None, words: str) -> None:
    assert dims(shape) == words
