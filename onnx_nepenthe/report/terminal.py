"""Reports as text: tables that fit 80 columns, in plain characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnx_nepenthe.evidence import Observed
from onnx_nepenthe.outcome import Inspection, Outcome, Price, Side
from onnx_nepenthe.report.facts import REGIMES, RectifierFacts, all_refusals, evidence_words, facts_of, grouped
from onnx_nepenthe.report.grid import PLACES, places, print_table, table_of
from onnx_nepenthe.report.price import price_words
from onnx_nepenthe.report.text import clean, integer, milliseconds, percent, plural, sentence, shorten, size, template
from onnx_nepenthe.report.words import bounds_words, latency_words, verdict_words
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.verify import Verdict

MOST_ROWS = 60
"""More rectifiers, rewrites or places than this are summed up unless everything is asked for."""
FINDING_WIDTH = 26
WORDS = {"removed": "removed", "linear": "a line", "stays": "stays"}
_CHANGING = re.compile(r"(at least )?(\d+) of (\d+) channels change regime")
_COLOURS = {"removed": "green", "linear": "cyan", "stays": "default"}


def print_inspection(console: Console, inspection: Inspection, *, everything: bool = False) -> None:
    """The report of `inspect`, without its last line."""
    _print_start(console, inspection)
    _print_rectifiers(console, inspection, everything=everything)
    for drift in inspection.drifts:
        console.print(Text(f"no longer holds: {clean(str(drift))}"))
    _print_refusals(console, inspection, None, everything=everything)
    print_table(console, "Size", _sizes(inspection.side, None))


def print_outcome(console: Console, outcome: Outcome, *, everything: bool = False) -> None:
    """The report of `collapse`, without its last line."""
    inspection = outcome.inspection
    _print_start(console, inspection)
    _print_rectifiers(console, inspection, everything=everything)
    _print_rewrites(console, outcome, everything=everything)
    _print_refusals(console, inspection, outcome, everything=everything)
    if outcome.is_collapsed:
        print_table(console, "Before and after", _sizes(inspection.side, outcome.after, outcome))
    else:
        print_table(console, "Size", _sizes(inspection.side, None))
    if outcome.latency is not None:
        console.print(Text(f"Latency: {latency_words(outcome.latency)}"))
    elif outcome.is_collapsed:
        console.print(Text("Latency: not measured"))
    if outcome.verdict is not None:
        console.print(Text(sentence(verdict_words(outcome.verdict))))
    if outcome.price is not None:
        _print_price(console, outcome.price)


def _print_price(console: Console, price: Price) -> None:
    if price.substitutes:
        columns = (("fitted operator", "left", None), ("kind", "left", 10), ("gone", "right", 5), ("left", "right", 6))
        table = table_of(*columns, ("points", "right", 6), ("saves", "right", 9))
        for one in price.substitutes:
            value = Text(shorten(one.target, 34))
            numbers = (f"{one.residual:.3f}", f"{one.drop:.2f}", milliseconds(one.gain_ms))
            table.add_row(value, one.kind, str(one.rectifiers), *numbers)
        title = "Bought (gone: rectifiers; left: share of the variance not fitted; points and time saved alone)"
        print_table(console, title, table)
    console.print(Text(sentence(price_words(price))))


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The report of `verify`, without its last line."""
    if verdict.outputs:
        table = table_of(
            ("output", "left", 20),
            ("how B ran", "left", 13),
            ("largest error", "right", 13),
            ("allowed", "right", 9),
            ("result", "left", None),
        )
        for row in verdict.outputs:
            errors = (f"{row.max_abs_error:.2e}", f"{row.tolerance:.2e}")
            result = Text("same", style="green") if row.passed else Text("DIFFERENT", style="red")
            table.add_row(Text(shorten(row.name, 20)), row.mode, *errors, result)
        print_table(console, "Outputs", table)
    for difference in verdict.interface:
        console.print(Text(f"interface: {clean(difference)}"))
    if verdict.outputs:
        console.print(Text(sentence(verdict_words(verdict, with_reason=False))))


def _print_start(console: Console, inspection: Inspection) -> None:
    measured = f"measured on {plural(inspection.samples, 'sample')}" if inspection.samples else "no data"
    name = shorten(inspection.name, 40)
    console.print(Text(f"{name}: {plural(inspection.side.rectifiers, 'rectifier')}, {measured}"))
    for note in inspection.notes:
        console.print(Text(f"note: {clean(note)}"))


def _print_rectifiers(console: Console, inspection: Inspection, *, everything: bool) -> None:
    facts = [facts_of(row) for row in inspection.rows]
    if not facts:
        return
    if len(facts) > MOST_ROWS and not everything:
        print_table(console, f"Rectifiers ({len(facts)} in all; -v lists each)", _summary(facts))
    else:
        explained = " (shares of observations in %, entropy in bits)" if inspection.samples else ""
        print_table(console, f"Rectifiers{explained}", _rectifiers(facts, console.width))
    observed = [f.evidence for f in facts if isinstance(f.evidence, Observed)]
    if observed:
        console.print(Text(bounds_words(observed)))


def _rectifiers(facts: Sequence[RectifierFacts], width: int) -> Table:
    kinds = [kind for kind in REGIMES if any(kind in (f.shares or ()) for f in facts)]
    op_width = min(max(len(f.op) for f in facts), 12)
    others = op_width + 2 + 7 + sum(max(len(kind), 3) + 2 for kind in kinds) + (7 if kinds else 0)
    names = [_name(f) for f in facts]
    name_width = min(max(map(len, names)), max(width - others - FINDING_WIDTH - 2, 12))
    table = table_of(
        ("rectifier", "left", max(name_width, len("rectifier"))),
        ("op", "left", op_width),
        ("ch", "right", 5),
        *((kind, "right", max(len(kind), 3)) for kind in kinds),
        *([("bits", "right", 5)] if kinds else []),
        ("finding", "left", None),
    )
    for f, name in zip(facts, names, strict=True):
        shares = f.shares or {}
        table.add_row(
            Text(shorten(name, name_width)),
            Text(shorten(f.op, op_width)),
            str(f.channels or "–"),
            *(percent(shares[kind]) if kind in shares else "–" for kind in kinds),
            *([f"{f.entropy:.3f}" if f.entropy is not None else "–"] if kinds else []),
            finding(f),
        )
    return table


def _name(facts: RectifierFacts) -> str:
    """The label; without the operator that a column of its own shows."""
    return clean(facts.name.removeprefix(f"{facts.op}→"))


def finding(facts: RectifierFacts) -> Text:
    """What was decided and on what grounds; without what the other columns say."""
    why = evidence_words(facts.evidence).partition(", told apart")[0] or _brief(facts.reason)
    return Text(WORDS[facts.status], style=_COLOURS[facts.status]) + Text(f": {clean(why)}", style="default")


def _brief(reason: str) -> str:
    """In one line of the column, where that is possible.

    >>> _brief("at least 3 of 16 channels change regime"), _brief("2 of 2 channels change regime (entropy 0.5 bits)")
    ('at least 3 switch', 'all switch')
    """
    found = _CHANGING.match(reason)
    if found is None:
        return reason
    least, some, every = found.groups()
    if some == every and not least:
        return "all switch"
    return f"{least or ''}{some} {'switches' if some == '1' else 'switch'}"


def _summary(facts: Sequence[RectifierFacts]) -> Table:
    table = table_of(("number", "right", 7), ("op", "left", 12), ("finding", "left", None))
    groups = Counter((f.op, f.status, f.reason and template(f.reason)) for f in facts)
    for (op, status, reason), count in groups.most_common():
        word = WORDS[status]
        table.add_row(str(count), Text(shorten(op, 12)), Text(clean(f"{word}: {reason}" if reason else word)))
    return table


def _print_rewrites(console: Console, outcome: Outcome, *, everything: bool) -> None:
    if not outcome.rewrites:
        return
    rows = list(_rewrites(outcome.rewrites, outcome, everything=everything))
    shown = rows if everything else rows[:MOST_ROWS]
    rest = len(rows) - len(shown)
    title = f"Rewrites ({rest} more with -v)" if rest else "Rewrites"
    table = table_of(("replaced", "left", 36), ("by", "left", None), ("region", "right", 7))
    for replaced, made, speedup in shown:
        table.add_row(Text(places(replaced, 36)), Text(clean(made)), speedup)
    print_table(console, title, table)


def _rewrites(
    rewrites: Iterable[Rewrite], outcome: Outcome, *, everything: bool
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is replaced, by what, how much faster that is; untimed ones in a row by the same are one."""
    known = ((one, outcome.speedups.get(one.region)) for one in rewrites)
    each = [(one.replaced, one.made, "–" if speedup is None else f"{speedup:.2f}x") for one, speedup in known]
    for (made, speedup), alike in groupby(each, key=itemgetter(1, 2)):
        members = [replaced for replaced, _, _ in alike]
        if everything or speedup != "–" or len(members) == 1:
            yield from ((replaced, made, speedup) for replaced in members)
        else:
            yield tuple(chain(*members)), f"{made}, {len(members)} times", speedup


def _print_refusals(console: Console, inspection: Inspection, outcome: Outcome | None, *, everything: bool) -> None:
    groups = grouped(all_refusals(inspection, outcome))
    if not groups:
        return
    table = table_of(("number", "right", 6), ("where", "left", 22), ("reason, and what would change it", "left", None))
    for group in groups:
        reason = Text(clean(group.reason))
        if group.lift:
            reason += Text(f"\n→ {clean(group.lift)}", style="italic")
        most = len(group.where) if everything else PLACES
        table.add_row(str(len(group.where)), Text(places(group.where, 22, most)), reason)
    print_table(console, "Left as it is", table)


def _sizes(before: Side, after: Side | None, outcome: Outcome | None = None) -> Table:
    sides = [before] if after is None else [before, after]
    headings = ["" if after is None else "before", "after"][: len(sides)]
    table = table_of(("", "left", 26), *((heading, "right", 16) for heading in headings))
    table.show_header = after is not None
    table.add_row("rectifiers", *(integer(side.rectifiers) for side in sides))
    table.add_row("weighted depth", *(integer(side.size.weighted_depth) for side in sides))
    table.add_row("nodes", *(integer(side.size.nodes) for side in sides))
    table.add_row("parameters", *(integer(side.size.parameters) for side in sides))
    table.add_row("multiply-adds", *(integer(side.size.macs) for side in sides))
    table.add_row("weights", *(size(side.size.weight_bytes) for side in sides))
    latency = None if outcome is None else outcome.latency
    if latency is not None:
        table.add_row("latency (median)", milliseconds(latency.before_ms), milliseconds(latency.after_ms))
    return table
