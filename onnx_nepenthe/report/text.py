"""Numbers and names as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ELLIPSIS = "…"
_NUMBER = re.compile(r"(?<![\w.])\d[\d,.]*(?:e[+-]?\d+)?")


def clean(text: str) -> str:
    """`text` on one line without control characters, which a model's author may have put there.

    >>> clean("a\\nb\\x1b[31m")
    'a�b�[31m'
    """
    return "".join(char if char.isprintable() else "�" for char in text)


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters, cut in the middle.

    >>> shorten("/features/block_12/relu_2", 13)
    '/featu…relu_2'
    """
    text = clean(text)
    if len(text) <= width:
        return text
    tail = width // 2
    return text[: width - tail - 1] + ELLIPSIS + text[len(text) - tail :]


def template(reason: str) -> str:
    """`reason` with its numbers left out, so that equal reasons group.

    >>> template("3 of 16 channels change regime (entropy 0.53 bits)")
    '… of … channels change regime (entropy … bits)'
    """
    return _NUMBER.sub(ELLIPSIS, reason)


def integer(value: int | None) -> str:
    """With thousands separators; a dash for what is not known.

    >>> integer(1234567), integer(None)
    ('1,234,567', '–')
    """
    return "–" if value is None else f"{value:,}"


def plural(count: int, noun: str) -> str:
    """The count with its noun.

    >>> plural(1, "rectifier"), plural(1200, "sample")
    ('1 rectifier', '1,200 samples')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """`text` with a capital, its other letters as they are."""
    return text[:1].upper() + text[1:]


def size(count_bytes: int) -> str:
    """Bytes in the unit that suits.

    >>> size(900), size(516504), size(3 << 30)
    ('900 B', '516.5 kB', '3.2 GB')
    """
    value, units = float(count_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def milliseconds(value: float | None) -> str:
    """Three significant digits.

    >>> milliseconds(0.012345), milliseconds(1234.5)
    ('0.0123 ms', '1,234 ms')
    """
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f} ms"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{digits}f} ms"


def duration(seconds: float) -> str:
    """In the unit that suits.

    >>> duration(7.2), duration(75), duration(7260)
    ('7 s', '1 min 15 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"


def percent(share: float) -> str:
    """A share of 1; what is not quite nothing or all does not look like it.

    >>> percent(0.5), percent(0.0), percent(0.0001), percent(0.9999), percent(1.0)
    ('50', '0', '<1', '>99', '100')
    """
    if 0 < share < 0.005:
        return "<1"
    if 0.995 < share < 1:
        return ">99"
    return f"{100 * share:.0f}"


def threads(count: int) -> str:
    """Threads as `--threads` takes them.

    >>> threads(0), threads(1), threads(4)
    ("the runtime's choice of threads", '1 thread', '4 threads')
    """
    return plural(count, "thread") if count else "the runtime's choice of threads"


def speed_word(latency: Mapping[str, Any]) -> str:
    """What a record of a measured latency comes to.

    >>> speed_word({"faster": False, "speedup": 0.8, "high": 0.9, "control_low": 0.98})
    '0.80× as fast (slower)'
    >>> speed_word({"faster": False, "speedup": 1.3, "high": 1.6, "control_low": 0.7})
    'no clear difference'
    """
    if latency["faster"]:
        return f"{latency['speedup']:.2f}× faster"
    is_slower = latency["high"] < min(1.0, latency["control_low"])
    return f"{latency['speedup']:.2f}× as fast (slower)" if is_slower else "no clear difference"
