"""The report of `prune` as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx_nepenthe.report import html
from onnx_nepenthe.report.json import plain
from onnx_nepenthe.report.page import render
from onnx_nepenthe.report.pruning import narrowed, percent, round_name
from onnx_nepenthe.report.text import clean

TEMPLATE = "prune.html.j2"
Row = Mapping[str, Any]
BITS_DIGITS = 6


def page_of_pruning(record: Mapping[str, Any]) -> str:
    """A page from what `prune --json` writes; everything that comes from the network is escaped."""
    report = plain(record)
    collapse = report["collapse"]
    context = {} if collapse is None else html.context(collapse)
    charts = {} if collapse is None else html.charts_of(collapse)
    final = report["rounds"][report["chosen"]]
    return render(
        TEMPLATE,
        charts | _charts(report),
        **context
        | {
            "title": clean(report["network"]),
            "headline": _headline(report, final),
            "pruning": report,
            "report": collapse,
            "headline_of_collapse": "" if collapse is None else html.headline(collapse),
            "final": final,
            "accuracy": _accuracy(report, final),
            "rounds": [_round(entry) for entry in report["rounds"]],
            "sites": [_site(site, report["rounds"], final) for site in report["sites"]],
            "disturbed": [_disturbed(row) for row in report["robustness"] or ()],
            "models": list(report["robustness"][0]["accuracy"]) if report["robustness"] else [],
            "told": [*_notes(report), *filter(None, [narrowed(report)])],
        },
    )


def _headline(report: Row, final: Row) -> str:
    before, after = _accuracy(report, final)
    linear = f"{len(final['linear'])} of {len(report['sites'])} rectifiers linear"
    return f"{linear}, accuracy {percent(before)} → {percent(after)}"


def _accuracy(report: Row, final: Row) -> tuple[float | None, float | None]:
    """Before and after: on test data where there are any, else on validation data."""
    if report["test"] is not None:
        return report["dense_test"], report["test"]
    return report["rounds"][0]["accuracy"], final["accuracy"]


def _round(entry: Row) -> dict[str, Any]:
    return {
        "name": round_name(entry),
        "accuracy": percent(entry["accuracy"]),
        "kept": "yes" if entry["is_accepted"] else "no",
        "linear": len(entry["linear"]),
        "zero": len(entry["zero"]),
        "gone": percent(entry["sparsity"]),
        "pq_index": f"{entry['pq_index']:.3f}",
        "epochs": f"{entry['epochs']:.4g}",
        "seconds": f"{entry['seconds_s']:.0f}",
    }


def _state(name: str, entry: Row) -> str:
    return "linear" if name in entry["linear"] else "H = 0" if name in entry["zero"] else ""


def _site(site: Row, rounds: list[Row], final: Row) -> dict[str, Any]:
    name = site["name"]
    bits = [entry["entropy"].get(name) for entry in rounds]
    return {
        "label": clean(site["label"]),
        "op": clean(site["op"]),
        "channels": site["channels"],
        "state": _state(name, final),
        "bits": ["–" if found is None else f"{found:.4f}" for found in bits],
    }


def _disturbed(row: Row) -> dict[str, Any]:
    return {
        "what": clean(row["disturbance"]),
        "strength": f"{row['strength']:g}" if row["strength"] else "–",
        "samples": row["samples"],
        "accuracy": [percent(value) for value in row["accuracy"].values()],
    }


def _notes(report: Row) -> list[str]:
    labels = {site["name"]: site["label"] for site in report["sites"]}
    notes = ((note["layer"], note["reason"]) for entry in report["rounds"] for note in entry["notes"])
    return [f"{clean(labels.get(layer, layer))}: {clean(reason)}" for layer, reason in dict.fromkeys(notes)]


def _charts(report: Row) -> dict[str, Any]:
    rounds = report["rounds"]
    names = ("accuracy", "pq_index")
    return {
        "theta": report["theta"],
        "rounds": [
            {"at": at, "name": round_name(entry), "kept": entry["is_accepted"], **{name: entry[name] for name in names}}
            for at, entry in enumerate(rounds)
        ],
        "sites": [
            {
                "at": at,
                "label": clean(site["label"]),
                "bits": [_rounded(entry["entropy"].get(site["name"])) for entry in rounds],
                "states": [_state(site["name"], entry) for entry in rounds],
            }
            for at, site in enumerate(report["sites"], start=1)
        ],
        "robustness": [
            {"what": f"{clean(row['disturbance'])} {row['strength']:g}".removesuffix(" 0"), "accuracy": row["accuracy"]}
            for row in report["robustness"] or ()
        ],
    }


def _rounded(bits: float | None) -> float | None:
    return None if bits is None else round(bits, BITS_DIGITS)
