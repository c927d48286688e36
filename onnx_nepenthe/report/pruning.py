"""The report of `prune`, from its record: tables for the terminal, and its last line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from onnx_nepenthe.report.console import Console
from onnx_nepenthe.report.grid import print_table, table_of
from onnx_nepenthe.report.text import clean, plural, sentence, shorten

SHOWN_NOTES = 5
"""Notes of a run that are printed unless everything is asked for."""


def print_pruning(console: Console, record: Mapping[str, Any], *, everything: bool = False) -> None:
    """Rounds, sites, robustness, and what the exported and collapsed models came to; without the last line.

    Args:
        console: where.
        record: what `prune --json` writes.
        everything: every site and note.
    """
    print_start(console, record)
    _print_rounds(console, record)
    _print_sites(console, record, everything=everything)
    _print_notes(console, record, everything=everything)
    if record["robustness"]:
        _print_robustness(console, record["robustness"])
    console.print()
    for line in _facts(record):
        console.print(Text(line), soft_wrap=True)


def print_start(console: Console, record: Mapping[str, Any]) -> None:
    """Network, method and when it was to stop."""
    sites = plural(len(record["sites"]), "rectifier")
    name, method = clean(str(record["network"])), record["method"]
    console.print(Text(f"{name}: {sites}; {method} down to {percent(record['theta'])} on validation data"))


def pruning_line(record: Mapping[str, Any]) -> str:
    """What was written where."""
    final = _final(record)
    gone = f"{len(final['linear'])} of {plural(len(record['sites']), 'rectifier')} linear"
    if record["collapse"] is None:
        hint = "" if not final["linear"] else f"; next: onnx-nepenthe collapse {record['output']} --data D"
        return f"pruned: {gone}, written to {record['output']}{hint}"
    return f"pruned: {gone}, written to {record['output']}; {record['collapse']['message']}"


def percent(share: float | None) -> str:
    """A share as per cent with two digits; a dash for what is not known.

    >>> percent(0.93756), percent(None)
    ('93.76 %', '–')
    """
    return "–" if share is None else f"{100 * share:.2f} %"


def round_name(entry: Mapping[str, Any]) -> str:
    """What a round is called: its number, or its phase where that is another.

    >>> round_name({"phase": "round", "number": 2}), round_name({"phase": "settle", "number": 3, "narrowed": []})
    ('2', 'last')
    """
    if entry["phase"] == "round":
        return str(entry["number"])
    if entry["phase"] != "settle":
        return str(entry["phase"])
    return "narrow" if entry["narrowed"] else "last"


def narrowed(record: Mapping[str, Any]) -> str:
    """Which convolutions have their centre tap alone; "" where none has."""
    names = [clean(str(name)) for name in _final(record)["narrowed"]]
    return f"{plural(len(names), 'convolution')} narrowed to the centre tap: {', '.join(names)}." if names else ""


def _final(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record["rounds"][record["chosen"]]
    return found


def _print_rounds(console: Console, record: Mapping[str, Any]) -> None:
    table = table_of(
        ("round", "right", 6),
        ("validation", "right", 10),
        ("kept", "left", 4),
        ("linear", "right", 6),
        ("H = 0", "right", 5),
        ("weights gone", "right", 12),
        ("PQ index", "right", 8),
        ("epochs", "right", 6),
        ("seconds", "right", 8),
    )
    for entry in record["rounds"]:
        counts = (str(len(entry["linear"])), str(len(entry["zero"])))
        spent = (f"{entry['epochs']:.4g}", f"{entry['seconds_s']:.0f}")
        sizes = (percent(entry["sparsity"]), f"{entry['pq_index']:.3f}")
        kept = Text("yes") if entry["is_accepted"] else Text("no", style="red")
        table.add_row(round_name(entry), percent(entry["accuracy"]), kept, *counts, *sizes, *spent)
    print_table(console, "Rounds (linear: rectifiers that are lines; H = 0: others at zero entropy)", table)


def _print_sites(console: Console, record: Mapping[str, Any], *, everything: bool) -> None:
    before, after = record["rounds"][0]["entropy"], _final(record)
    linear = set(after["linear"])
    rows = [site for site in record["sites"] if everything or site["name"] in linear or site["name"] in after["zero"]]
    if not rows:
        console.print(Text("\nNo rectifier became linear."))
        return
    table = table_of(
        ("rectifier", "left", None),
        ("kind", "left", 9),
        ("channels", "right", 8),
        ("dense H", "right", 7),
        ("now", "right", 7),
        ("", "left", 6),
    )
    for site in rows:
        name = site["name"]
        state = "linear" if name in linear else "H = 0" if name in after["zero"] else ""
        bits = [f"{found[name]:.4f}" if name in found else "–" for found in (before, after["entropy"])]
        table.add_row(Text(shorten(site["label"], 36)), site["op"], str(site["channels"]), *bits, state)
    title = "Rectifiers" if everything else "Rectifiers that are linear or at zero entropy (-v for all)"
    print_table(console, f"{title}; H in bits", table)


def _print_notes(console: Console, record: Mapping[str, Any], *, everything: bool) -> None:
    notes = list(
        dict.fromkeys((note["layer"], note["reason"]) for entry in record["rounds"] for note in entry["notes"])
    )
    shown = notes if everything else notes[:SHOWN_NOTES]
    if shown:
        console.print()
    labels = {site["name"]: site["label"] for site in record["sites"]}
    for layer, reason in shown:
        console.print(Text(f"note: {clean(labels.get(layer, layer))}: {clean(reason)}"), soft_wrap=True)
    if len(notes) > len(shown):
        console.print(Text(f"… and {plural(len(notes) - len(shown), 'note')} more; -v shows all"))


def _print_robustness(console: Console, rows: list[Mapping[str, Any]]) -> None:
    models = list(rows[0]["accuracy"])
    columns = [(name, "right", 11) for name in models]
    table = table_of(("disturbance", "left", None), ("strength", "right", 8), ("samples", "right", 8), *columns)
    for row in rows:
        strength = f"{row['strength']:g}" if row["strength"] else ""
        accuracies = [percent(row["accuracy"][name]) for name in models]
        table.add_row(row["disturbance"], strength, f"{row['samples']:,}", *accuracies)
    title = "Accuracy on disturbed test data (strength in standard deviations; blur and translate in pixels)"
    print_table(console, title, table)


def _facts(record: Mapping[str, Any]) -> list[str]:
    lines = [f"{sentence(record['reason'])}. {record['epochs']:.4g} epochs in all, {record['seconds_s']:.0f} s."]
    if record["test"] is not None:
        lines.append(f"Test accuracy: {percent(record['dense_test'])} dense, {percent(record['test'])} pruned.")
    if narrowed(record):
        lines.append(narrowed(record))
    export = record["export"]
    lines.append(
        f"Exported: largest difference to torch {export['difference']:.1e} where outputs reach {export['scale']:.3g}."
    )
    collapse = record["collapse"]
    if collapse is None:
        return lines
    depth, latency = collapse["weighted_depth"], collapse["latency"]
    speed = f", {latency['speedup']:.2f}x [{latency['low']:.2f}, {latency['high']:.2f}]" if latency["measured"] else ""
    accuracy = "" if record["collapsed_test"] is None else f", test accuracy {percent(record['collapsed_test'])}"
    lines.append(f"Collapsed: weighted depth {depth['before']} → {depth['after']}{speed}{accuracy}.")
    return lines
