"""What reports say of one rectifier, and refusals in groups: derived once for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnx_nepenthe.activations.observed import curved_mass
from onnx_nepenthe.evidence import Evidence, Observed, Proved
from onnx_nepenthe.linearise import PAY, Decision, Undecided
from onnx_nepenthe.outcome import Inspection, Outcome, Price, RectifierRow, Refusal
from onnx_nepenthe.report.text import template

Status = Literal["removed", "linear", "stays"]
ALIKE = "; others alike"
REGIMES = ("OFF", "ON", "linear", "curved")


@dataclass(frozen=True, eq=False)
class RectifierFacts:
    """One rectifier.

    Attributes:
        name, op, channels: which one.
        regimes: name per piece, in the order of the pieces.
        shares: regime name → share of the observations that lie in it, ties left out; None without data.
        observations: in all channels together.
        entropy: of the layer, bits; None without data.
        curved_mass: share of the observations on a curved piece, ties counted in; None without data.
        status: gone from the result, a line that is still there, or not a line.
        pieces: regime name → channels decided to be in it; empty unless decided.
        evidence: of the decision.
        proved, observed: how many channels rest on which evidence.
        reason, lift: why it stays and what would change that.
    """

    name: str
    op: str
    channels: int | None
    regimes: tuple[str, ...]
    shares: Mapping[str, float] | None
    observations: int
    entropy: float | None
    curved_mass: float | None
    status: Status
    pieces: Mapping[str, int]
    evidence: Evidence | None = None
    proved: int = 0
    observed: int = 0
    reason: str = ""
    lift: str = ""


def facts_of(row: RectifierRow) -> RectifierFacts:
    """The facts of one row."""
    rectifier, counts, found = row.rectifier, row.counts, row.found
    names = rectifier.activation.names
    is_decided = isinstance(found, Decision)
    refusal = found.refusal if isinstance(found, Undecided) and row.fitted is None else None
    return RectifierFacts(
        name=rectifier.label,
        op=rectifier.op,
        channels=rectifier.channels,
        regimes=names,
        shares=_shares(row),
        observations=0 if counts is None else int(counts.observations.sum()),
        entropy=None if counts is None else counts.layer_entropy(),
        curved_mass=_curved_mass(row),
        status="removed" if row.removed else "linear" if is_decided else "stays",
        pieces=_pieces(names, found) if isinstance(found, Decision) else {},
        evidence=found.evidence if isinstance(found, Decision) else row.fitted,
        proved=found.proved if isinstance(found, Decision) else 0,
        observed=found.observed if isinstance(found, Decision) else 0,
        reason="" if refusal is None else refusal.reason,
        lift="" if refusal is None else refusal.lift,
    )


def _shares(row: RectifierRow) -> dict[str, float] | None:
    if row.counts is None:
        return None
    per_piece = row.counts.counts.sum(axis=1).tolist()
    total = sum(per_piece)
    shares = dict.fromkeys(sorted(set(row.rectifier.activation.names), key=REGIMES.index), 0.0)
    for name, count in zip(row.rectifier.activation.names, per_piece, strict=True):
        shares[name] += count / total if total else 0.0
    return shares


def _curved_mass(row: RectifierRow) -> float | None:
    if row.counts is None:
        return None
    seen = row.counts.observations
    mass = curved_mass(row.rectifier.activation, row.counts)
    return float((mass * seen).sum() / max(int(seen.sum()), 1))


def _pieces(names: tuple[str, ...], decision: Decision) -> dict[str, int]:
    counted = Counter(names[piece] for piece in decision.pieces.tolist())
    return {name: counted[name] for name in REGIMES if counted[name]}


def evidence_words(evidence: Evidence | None) -> str:
    """The evidence in a few words.

    >>> evidence_words(Observed(30_000)), evidence_words(Proved("z in [0, inf)"))
    ('seen 30,000x', 'proved, z in [0, inf)')
    """
    match evidence:
        case None:
            return ""
        case Proved(how=how):
            return f"proved, {how}"
        case Observed(n=n):
            return f"seen {n:,}x"
    return f"fitted, residual {evidence.residual:.3g}"


def all_refusals(inspection: Inspection, outcome: Outcome | None = None) -> tuple[Refusal, ...]:
    """Everything left as it is: unreadable rectifiers, rectifiers that are no lines, and what the stages refused."""
    later = () if outcome is None else outcome.refusals
    told = {(refusal.where, refusal.reason) for refusal in later}
    stay = [
        Refusal(facts.name, "rectifier", facts.reason, facts.lift)
        for facts in map(facts_of, inspection.rows)
        if facts.status == "stays" and (facts.name, facts.reason) not in told
    ]
    every = (*inspection.refusals, *stay, *later)
    return every if outcome is None or outcome.price is None else tuple(_paid(one, outcome.price) for one in every)


def _paid(refusal: Refusal, price: Price) -> Refusal:
    """Where something was paid already, only more can help."""
    more = "a higher --target-speedup" if price.allowed is None else f"more than --max-drop {price.allowed:g}"
    return replace(refusal, lift=refusal.lift.replace(PAY, f"pay for it with {more}"))


@dataclass(frozen=True)
class RefusalGroup:
    """Refusals for one reason.

    Attributes:
        stage: the one that refused.
        reason: of the first of them; the others may have other numbers in it.
        lift: what would change it.
        where: labels, in graph order.
    """

    stage: str
    reason: str
    lift: str
    where: tuple[str, ...]


def grouped(refusals: Iterable[Refusal]) -> tuple[RefusalGroup, ...]:
    """Refusals by reason, the most frequent first."""
    groups: dict[tuple[str, str, str], list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.stage, template(refusal.reason), refusal.lift), []).append(refusal)
    found = [
        RefusalGroup(stage, members[0].reason + _others(members), lift, tuple(member.where for member in members))
        for (stage, _, lift), members in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: -len(group.where)))


def _others(members: Sequence[Refusal]) -> str:
    return ALIKE if len({member.reason for member in members}) > 1 else ""
