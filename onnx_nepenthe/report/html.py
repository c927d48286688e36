"""The report of `collapse` as one page that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnx_nepenthe.outcome import Bought, Price, Refusal
from onnx_nepenthe.report import text
from onnx_nepenthe.report.facts import REGIMES, grouped
from onnx_nepenthe.report.json import plain
from onnx_nepenthe.report.price import price_words

TEMPLATE = "report.html.j2"
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
    environment = Environment(
        loader=PackageLoader("onnx_nepenthe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": text.clean,
        "integer": text.integer,
        "ms": text.milliseconds,
        "percent": text.percent,
        "plural": text.plural,
        "sentence": text.sentence,
    }
    page = environment.get_template(TEMPLATE).render(
        report=report,
        price_words=_price_words(report["price"]),
        sizes=_size_rows(report),
        bars=[bar(row) for row in report["rectifier_rows"]],
        regimes=[kind for kind in REGIMES if any(kind in (row["shares"] or ()) for row in report["rectifier_rows"])],
        groups=grouped(Refusal(**refusal) for refusal in report["refusals"]),
    )
    return page + "\n"


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


def bar(row: Mapping[str, Any]) -> dict[str, Any]:
    """One rectifier's bar: segments as (regime, start, width) in percent of the bar, and the same in words."""
    segments: list[tuple[str, float, float]] = []
    start = 0.0
    for kind, share in (row["shares"] or {}).items():
        segments.append((kind, round(start, 3), round(100 * share, 3)))
        start += 100 * share
    words = ", ".join(f"{kind} {text.percent(share)} %" for kind, share in (row["shares"] or {}).items())
    return {"row": row, "segments": segments, "words": words or "no data"}
