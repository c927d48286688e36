"""The parts of a model that a run rewrote, before and after, as graphs to draw and as rows to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnx_nepenthe.report.charts import grounds, regimes_of_channels
from onnx_nepenthe.report.text import clean

Row = Mapping[str, Any]
NOTHING = "nothing"
MOST_DRAWN = 150
"""Larger parts are not laid out, which would take long and show little."""


def regions(record: Row) -> list[dict[str, Any]]:
    """One entry a region with something to draw, in the order in which they were rewritten.

    `before` and `after` are its graphs, None where it is too large for a picture.
    """
    known = {row["rectifier"]: row for row in record["rectifier_rows"]}
    groups: dict[str, list[Row]] = {}
    for rewrite in record["rewrites"]:
        if rewrite["before"]["operators"]:
            groups.setdefault(rewrite["region"], []).append(rewrite)
    return [_region(members, known) for members in groups.values()]


def others(record: Row) -> list[Row]:
    """Rewrites without a picture: channels that were cut, constants computed once, what is inside bodies."""
    return [rewrite for rewrite in record["rewrites"] if not rewrite["before"]["operators"]]


def _region(members: Sequence[Row], known: Mapping[str, Row]) -> dict[str, Any]:
    operators = list({drawn["output"]: drawn for one in members for drawn in one["before"]["operators"]}.values())
    made = [clean(one["made"]) for one in members if one["made"] != NOTHING]
    inside = [known[drawn["label"]] for drawn in operators if drawn["label"] in known]
    is_drawn = len(operators) <= MOST_DRAWN
    return {
        "count": len(operators),
        "where": clean(operators[0]["label"]),
        "made": made or [NOTHING],
        "speedup": members[0]["speedup"],
        "grounds": sorted({grounds(one["evidence"]) for one in members} - {""}) or _exact(inside),
        "rows": [_row(drawn, known) for drawn in operators],
        "before": _graph(_nodes_before(operators, known), _starts(members)) if is_drawn else None,
        "after": _graph(_nodes_after(members), _starts(members)) if is_drawn else None,
    }


def _exact(inside: Sequence[Row]) -> list[str]:
    """A composition is exact as far as the rectifiers in it are lines."""
    if not inside:
        return ["exact: nothing but linear operators"]
    return ["exact as long as the rectifiers in it are lines", *dict.fromkeys(grounds(r["evidence"]) for r in inside)]


def _row(drawn: Row, known: Mapping[str, Row]) -> dict[str, str]:
    found = known.get(drawn["label"])
    note = "" if found is None else f"rectifier; {grounds(found['evidence']) or clean(found['reason'])}"
    return {
        "label": clean(drawn["label"]),
        "op": clean(drawn["op"]),
        "weight": dims(drawn["weight"]) if drawn["weight"] else "",
        "shape": dims(drawn["shape"]),
        "note": note,
    }


def _states(row: Row) -> list[str]:
    """Which regimes its channels are in, and how that is known, in two short lines."""
    evidence = row["evidence"] or {"kind": ""}
    seen = {"proved": "proved", "observed": f"seen {evidence.get('n', 0):,}×", "fitted": "fitted"}
    states = [regimes_of_channels(row), seen.get(evidence["kind"], "")]
    return [line for line in states if line]


def _starts(members: Sequence[Row]) -> dict[str, str]:
    """Shapes of the values that the part starts from."""
    return {one["source"]: dims(one["before"]["shape"]) for one in members}


def _nodes_before(operators: Sequence[Row], known: Mapping[str, Row]) -> Iterator[dict[str, Any]]:
    for drawn in operators:
        row = _row(drawn, known)
        kind = "rectifier" if drawn["label"] in known else "operator"
        lines = [f"weight {row['weight']}"] if row["weight"] else []
        lines += _states(known[drawn["label"]]) if kind == "rectifier" else []
        yield {"kind": kind, "title": row["op"], "lines": [row["label"], *lines], "note": row["note"]} | {
            "inputs": drawn["inputs"],
            "output": drawn["output"],
            "shape": row["shape"],
        }


def _nodes_after(members: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for one in members:
        ends = [d["shape"] for d in one["before"]["operators"] if d["output"] == one["value"]]
        title, *details = clean(one["made"]).split(", ")
        kind = "gone" if one["made"] == NOTHING else "made"
        yield {"kind": kind, "title": title, "lines": details, "note": grounds(one["evidence"])} | {
            "inputs": [one["source"]],
            "output": one["value"],
            "shape": dims(ends[0]) if ends else "",
        }


def _graph(nodes: Iterator[dict[str, Any]], starts: Mapping[str, str]) -> dict[str, Any]:
    """Nodes by number, edges between them with the shape that flows, ends as nodes of their own."""
    inner = list(nodes)
    made = {node["output"]: at for at, node in enumerate(inner)}
    used = {name for node in inner for name in node["inputs"]}
    drawn = [{key: node[key] for key in ("kind", "title", "lines", "note")} for node in inner]
    edges: list[tuple[int, int, str]] = []
    outside: dict[str, int] = {}
    for at, node in enumerate(inner):
        for name in node["inputs"]:
            if name in made:
                edges.append((made[name], at, inner[made[name]]["shape"]))
                continue
            if name not in outside:
                outside[name] = len(drawn)
                drawn.append(_end("from", name))
            edges.append((outside[name], at, starts.get(name, "")))
    for at, node in enumerate(inner):
        if node["output"] not in used:
            edges.append((at, len(drawn), node["shape"]))
            drawn.append(_end("to", node["output"]))
    return {"nodes": drawn, "edges": edges}


def _end(word: str, name: str) -> dict[str, Any]:
    return {"kind": "value", "title": word, "lines": [clean(name)], "note": ""}


def dims(shape: Sequence[Any] | None) -> str:
    """A shape in words.

    >>> dims(["N", 3, None]), dims([]), dims(None)
    ('N×3×?', 'scalar', 'shape not known')
    """
    if shape is None:
        return "shape not known"
    return "×".join("?" if dim is None else clean(str(dim)) for dim in shape) or "scalar"
