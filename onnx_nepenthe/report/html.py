"""The report of `collapse` as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx_nepenthe.outcome import Bought, Price, Refusal
from onnx_nepenthe.report import charts, drawings, text
from onnx_nepenthe.report.facts import REGIMES, grouped
from onnx_nepenthe.report.json import plain
from onnx_nepenthe.report.page import render
from onnx_nepenthe.report.price import price_words
from onnx_nepenthe.report.remedies import remedies_of

TEMPLATE = "collapse.html.j2"
SAME = 5e-5
"""Shares of right answers that differ by less are shown as equal."""
_SIZES = (
    ("rectifiers", "rectifiers"),
    ("weighted operators on the longest path", "weighted_depth"),
    ("nodes", "nodes"),
    ("parameters", "parameters"),
    ("multiply-adds", "macs"),
)


def page_from(record: Mapping[str, Any]) -> str:
    """A page from what `json.record_of_outcome` made; everything that comes from the model is escaped."""
    report = plain(record)
    given = context(report)
    return render(TEMPLATE, charts_of(report), report=report, title=text.clean(report["model"]), **given)


def context(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the parts of a page about a collapse need beside its record."""
    rows = report["rectifier_rows"]
    measured = [row for row in rows if row["shares"] is not None]
    regions = drawings.regions(report)
    return {
        "headline": headline(report),
        "price_words": _price_words(report["price"]),
        "sizes": _size_rows(report),
        "rows": [_words(row) for row in rows],
        "regimes": [kind for kind in REGIMES if any(kind in row["shares"] for row in measured)],
        "regions": regions,
        "shown": max(
            range(len(regions)), key=lambda at: (regions[at]["speedup"] or 0, regions[at]["count"]), default=0
        ),
        "others": drawings.others(report),
        "groups": [_group(group) for group in grouped(Refusal(**refusal) for refusal in report["refusals"])],
        "quantiles": charts.quantile_rows(report["latency"]) if charts.latency(report["latency"]) else [],
    }


def charts_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the scripts of such a page draw."""
    measured = any(row["shares"] is not None for row in report["rectifier_rows"])
    return {
        "layers": charts.layers(report["rectifier_rows"]) if measured else [],
        "latency": charts.latency(report["latency"]),
        "regions": [{side: region[side] for side in ("before", "after")} for region in drawings.regions(report)],
    }


def headline(report: Mapping[str, Any]) -> str:
    """The result in a few words, the first thing that is read.

    >>> headline({"collapsed": False})
    'Nothing could be collapsed'
    """
    if not report["collapsed"]:
        return "Nothing could be collapsed"
    latency = report["latency"]
    if latency["measured"] and latency["faster"]:
        return f"{text.speed_word(latency)}, {_accuracy(report)}"
    speed = text.speed_word(latency) if latency["measured"] else "speed not measured"
    return f"{_smaller(report)}, {_accuracy(report)}, {speed.replace('difference', 'difference in speed')}"


def _smaller(report: Mapping[str, Any]) -> str:
    depth, nodes = report["weighted_depth"], report["nodes"]
    if depth["after"] < depth["before"]:
        return f"{depth['after']} layers deep instead of {depth['before']}"
    return f"{nodes['after']:,} operators instead of {nodes['before']:,}"


def _accuracy(report: Mapping[str, Any]) -> str:
    price, check = report["price"], report["verification"]
    if price is not None and (price["substitutes"] or price["refits"]):
        return f"for {price['drop']:.2f} points of {text.clean(price['metric'])}"
    if check["top1_before"] is None:
        return "same outputs"
    change = check["top1_after"] - check["top1_before"]
    return "same accuracy" if abs(change) < SAME else f"accuracy {100 * change:+.2f} points"


def _price_words(price: Mapping[str, Any] | None) -> str:
    if price is None:
        return ""
    lists = {name: tuple(Bought(**one) for one in price[name]) for name in ("substitutes", "refits")}
    return price_words(Price(**(dict(price) | lists)))


def _size_rows(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = [(label, *(text.integer(report[key][side]) for side in ("before", "after"))) for label, key in _SIZES]
    rows.append(("weights", *(text.size(report["bytes"][side]) for side in ("before", "after"))))
    latency = report["latency"]
    if latency["measured"]:
        rows.append(
            ("latency (median)", text.milliseconds(latency["before_ms"]), text.milliseconds(latency["after_ms"]))
        )
    return [(label, before, after) for label, before, after in rows]


def _words(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": text.clean(row["rectifier"]),
        "op": text.clean(row["op"]),
        "channels": row["channels"],
        "bits": row["entropy_bits"],
        "shares": charts.share_words(row),
        "regimes": charts.regimes_of_channels(row),
        "finding": charts.finding(row),
    }


def _group(group: Any) -> dict[str, Any]:
    return {
        "stage": group.stage,
        "reason": text.clean(group.reason),
        "lift": text.clean(group.lift),
        "where": [text.clean(label) for label in group.where],
        "remedies": remedies_of(group.lift),
    }
