"""A front as a table, a line, JSON and a picture."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from xml.etree import ElementTree

from rich.console import Console

from onnx_nepenthe.frontier import Frontier, front_of
from onnx_nepenthe.report.front import frontier_line, print_frontier, record_of_frontier
from onnx_nepenthe.report.json import text_from
from onnx_nepenthe.report.plot import Axis, plot_of
from tests.helpers.made_front import front, point
from tests.helpers.outcomes import HOSTILE


def printed(found: Frontier) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_frontier(console, found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_fits_and_has_a_row_per_model() -> None:
    text = printed(front())
    rows = [line for line in text.splitlines() if ".onnx" in line]
    assert [row.split()[0] for row in rows] == ["00-exact.onnx", "01-drop0.4.onnx", "02-drop3.9.onnx"]
    assert "3.90 (3.40 to 4.40)" in rows[2]
    assert "2.40x" in rows[2]
    assert "no model of its own for 1, 2 points: why" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_line_says_what_the_fastest_costs() -> None:
    assert frontier_line(front(), "out") == (
        "out written: 3 models, 1.10x exact to 2.40x for 3.90 points of top1; pick one"
    )
    assert frontier_line(front_of(point(0.0, 1.1, None), []), "out") == "out written: 1 model, 1.10x exact; pick one"


def test_the_record_is_json_with_every_figure() -> None:
    record = json.loads(text_from(record_of_frontier(front(), command="as typed")))
    assert (record["command"], record["command_line"], record["metric"]) == ("pareto", "as typed", "top1")
    first, second, _ = record["points"]
    assert (first["allowed"], second["allowed"], second["drop"], second["file"]) == (None, 0.5, 0.4, "01-drop0.4.onnx")
    assert second["latency"]["speedup"] == 1.3
    assert {"rectifiers", "weighted_depth", "weight_bytes", "macs"} <= second.keys()
    assert record["missing"] == [{"allowed": 1.0, "reason": "why"}, {"allowed": 2.0, "reason": "why"}]


def test_the_plot_is_xml_whatever_the_model_is_called() -> None:
    root = ElementTree.fromstring(plot_of(front(HOSTILE)))
    shown = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {point.file for point in front().points} <= set(shown)
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len([c for c in circles if c.get("class") == "mark"]) == 2 * len(front().points)


def test_faster_is_to_the_right_and_better_is_up() -> None:
    root = ElementTree.fromstring(plot_of(front()))
    marks = [g.find("{http://www.w3.org/2000/svg}circle") for g in root.iter("{http://www.w3.org/2000/svg}g")]
    places = [(float(m.get("cx", "")), float(m.get("cy", ""))) for m in marks if m is not None]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert all(0 < x < width and 0 < y < height for x, y in places)


def test_one_point_without_intervals_is_drawn_too() -> None:
    only = point(0.0, 1.0, None)
    cost = replace(only.price, low=0.0, high=0.0)
    flat = replace(only, price=cost, latency=replace(only.latency, low=1.0, high=1.0))
    ElementTree.fromstring(plot_of(front_of(flat, [])))


def test_ticks_are_round_and_inside() -> None:
    ticks = Axis(0.93, 3.2, 0.0, 100.0).ticks()
    assert [label for _, label in ticks] == ["1", "1.5", "2", "2.5", "3"]
    assert all(0 <= at <= 100 for at, _ in ticks)
