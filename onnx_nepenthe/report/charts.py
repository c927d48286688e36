"""What the scripts of a page draw, as plain data taken from a record; short, as a page holds all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnx_nepenthe.report.text import clean, integer, milliseconds, percent

Row = Mapping[str, Any]
STATUS = {"removed": "removed", "linear": "a line, still there", "stays": "stays"}
QUANTILES = (0.1, 0.5, 0.9)
_EVIDENCE = {"proved": "p", "observed": "o", None: "-"}


def finding(row: Row) -> str:
    """What became of a rectifier and on what grounds, in a few words."""
    return f"{STATUS[row['status']]}: {grounds(row['evidence']) or clean(row['reason'])}"


def grounds(evidence: Row | None) -> str:
    """The evidence in a few words; "" for none.

    >>> grounds({"kind": "proved", "how": "z in [0, inf)"}), grounds(None)
    ('proved, z in [0, inf)', '')
    """
    match evidence:
        case None:
            return ""
        case {"kind": "proved", "how": how}:
            return f"proved, {clean(how)}"
        case {"kind": "observed", "n": n, "bound": bound}:
            return f"seen {integer(n)} times per channel, flips in under {100 * bound:.2g} % (95 %)"
    return f"fitted, residual {evidence['residual']:.3g}"


def layers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry a rectifier, with its channels."""
    return [
        {
            "at": at,
            "name": clean(row["rectifier"]),
            "op": clean(row["op"]),
            "status": _status(row),
            "bits": row["entropy_bits"],
            "shares": row["shares"],
            "finding": finding(row),
            "each": _channels(row),
        }
        for at, row in enumerate(rows, start=1)
    ]


def _status(row: Row) -> str:
    is_bought = row["status"] == "removed" and (row["evidence"] or {}).get("kind") == "fitted"
    return "bought" if is_bought else str(row["status"])


def _channels(row: Row) -> dict[str, Any]:
    """Shares of all regimes but the first, which is what is left, and a letter a channel for its evidence."""
    each = row["per_channel"]
    first, *others = each["shares"] or (None,)
    return {
        "first": first,
        "others": None if first is None else {name: each["shares"][name] for name in others},
        "regime": each["regime"],
        "evidence": "".join(_EVIDENCE[word] for word in each["evidence"]),
    }


def regimes_of_channels(row: Row) -> str:
    """How many channels lie in which regime, in words; "" where nothing is known.

    >>> regimes_of_channels({"per_channel": {"regime": ["ON", "OFF", "ON", None]}})
    '2 ON, 1 OFF, 1 changing'
    """
    found = row["per_channel"]["regime"]
    known = [f"{found.count(name):,} {name}" for name in dict.fromkeys(found) if name is not None]
    return ", ".join([*known, *([f"{found.count(None):,} changing"] if None in found else [])])


def latency(record: Row) -> dict[str, Any] | None:
    """The timings of each pair; None where there are none."""
    if not record["measured"] or not record["each_ms"]:
        return None
    names = ("each_ms", "speedup", "low", "high", "control_low", "control_high")
    return {name: record[name] for name in names}


def quantile_rows(record: Row) -> list[tuple[str, ...]]:
    """The distributions as a table: what, p10, median, p90."""
    each = np.array(record["each_ms"], float)
    names = ("input", "result", "input again (control)")
    return [
        (name, *(milliseconds(float(value)) for value in np.quantile(column, QUANTILES)))
        for name, column in zip(names, each.T, strict=True)
    ]


def share_words(row: Row) -> str:
    """The shares of the regimes in words."""
    shares = row["shares"] or {}
    return ", ".join(f"{kind} {percent(share)} %" for kind, share in shares.items()) or "no data"
