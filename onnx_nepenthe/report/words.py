"""Sentences: the last line of a run, what the timing and the verification say, what to try next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from onnx_nepenthe.evidence import Observed, observations_for
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.outcome import Inspection, Outcome
from onnx_nepenthe.report.channels import BOUND_TO_HAVE
from onnx_nepenthe.report.facts import ALIKE, RefusalGroup, all_refusals, facts_of, grouped
from onnx_nepenthe.report.remedies import FREEZE, remedies_of
from onnx_nepenthe.report.text import clean, milliseconds, plural, threads
from onnx_nepenthe.verify import Verdict

FEW_SAMPLES = 60
"""Fewer leave it open whether more than one in twenty contradicts what was observed."""
_NUMBERS = re.compile(r"^(at least )?\d+ of \d+ ")


def closing_line(outcome: Outcome, name: str, output: Path | None) -> str:
    """What was written where, or that nothing could be collapsed and what to try next."""
    if not outcome.is_collapsed:
        result = f"{output} is a copy of {name}" if output is not None else "the result is the model that came in"
        why, then = _nothing(outcome)
        return clean(f"nothing could be collapsed{why}; {result}{then}")
    gains = f"{gain_words(outcome)}, {paid_words(outcome)}{_checked(outcome)}{_caution(outcome)}"
    return clean(f"{output} written: {gains}" if output is not None else f"collapsed: {gains}")


def gain_words(outcome: Outcome) -> str:
    """What became fewer and faster."""
    before, after = outcome.inspection.side, outcome.after
    pairs = (
        ("rectifiers", before.rectifiers, after.rectifiers),
        ("weighted depth", before.size.weighted_depth, after.size.weighted_depth),
        ("nodes", before.size.nodes, after.size.nodes),
    )
    changed = [f"{what} {old} → {new}" for what, old, new in pairs if old != new]
    if not changed and before.size.parameters != after.size.parameters:
        changed = [f"parameters {before.size.parameters:,} → {after.size.parameters:,}"]
    speed = [] if outcome.latency is None else [speed_words(outcome.latency)]
    return ", ".join([*changed, *speed]) or "rewritten"


def paid_words(outcome: Outcome) -> str:
    """What it cost; "" where nothing was paid."""
    price = outcome.price
    if price is None or not price.substitutes:
        return ""
    return f"paid {price.drop:.2f} points of {price.metric} ({price.low:.2f} to {price.high:.2f}), "


def speed_words(latency: Comparison) -> str:
    """The speed-up in a few words."""
    if latency.is_tie:
        return "no clear difference in speed"
    return f"{latency.speedup:.2f}x {'faster' if latency.is_faster else 'as fast (slower)'}"


def latency_words(latency: Comparison) -> str:
    """The speed-up with its interval and control, as one sentence."""
    return (
        f"{speed_words(latency)}: {milliseconds(latency.before_ms)} → {milliseconds(latency.after_ms)}, ratio "
        f"{latency.speedup:.3f} (95 % interval {latency.low:.3f} to {latency.high:.3f}; the input against itself "
        f"{latency.control_low:.3f} to {latency.control_high:.3f}; {plural(latency.pairs, 'pair')} on "
        f"{latency.provider}, {threads(latency.threads)})"
    )


def _checked(outcome: Outcome) -> str:
    if outcome.verdict is None and outcome.price is not None:
        return f"checked on {plural(outcome.price.samples, 'sample')} kept apart"
    return check_words(outcome.verdict)


def _caution(outcome: Outcome) -> str:
    """That few samples decided, which the tables say in more words; "" where many did, or none had to."""
    samples = outcome.inspection.samples
    grounds = [facts_of(row).evidence for row in outcome.inspection.rows]
    grounds += [cut.evidence for step in outcome.steps for cut in step.cuts]
    rests_on_data = any(isinstance(evidence, Observed) for evidence in grounds)
    return f", decided on {plural(samples, 'sample')} only" if rests_on_data and 0 < samples < FEW_SAMPLES else ""


def check_words(verdict: Verdict | None) -> str:
    """The verdict in a few words."""
    if verdict is None:
        return "not verified"
    return f"{'verified' if verdict.passed else 'FAILED'} on {plural(verdict.samples, 'sample')}"


def verdict_words(verdict: Verdict, *, with_reason: bool = True) -> str:
    """The verdict as one sentence."""
    parts = [
        f"{check_words(verdict)} of {verdict.source or 'the data'}: largest error {verdict.max_abs_error:.2g}, "
        f"{verdict.tolerance:.2g} allowed"
    ]
    if verdict.top1_before is not None and verdict.top1_after is not None:
        parts.append(f"top-1 {100 * verdict.top1_before:.2f} % → {100 * verdict.top1_after:.2f} %")
    if verdict.agreement is not None:
        parts.append(f"same class for {100 * verdict.agreement:.2f} %")
    if verdict.source and not verdict.disjoint:
        parts.append("on data that calibration saw")
    parts.append(f"by {verdict.engine}")
    if with_reason and not verdict.passed:
        parts.append(verdict.reason)
    return clean("; ".join(parts))


def comparison_line(verdict: Verdict, before: str, after: str) -> str:
    """Whether two models are the same."""
    if verdict.passed:
        return clean(f"{after} computes what {before} computes ({check_words(verdict)})")
    return clean(f"{after} does NOT compute what {before} computes: {verdict.reason}")


def inspection_line(inspection: Inspection) -> str:
    """How many rectifiers could go, and the next command."""
    facts = [facts_of(row) for row in inspection.rows]
    lines = sum(f.status != "stays" for f in facts)
    if not facts:
        return clean(f"{inspection.name} has no rectifier; collapse still composes linear operators")
    if inspection.drifts:
        broken = plural(len(inspection.drifts), "decision")
        return clean(f"{broken} on {inspection.name} no longer hold; collapse the original model again on these data")
    found = f"{lines} of {plural(len(facts), 'rectifier')} in {inspection.name} can be a line"
    step = next_step(inspection) if lines < len(facts) else ""
    return clean(f"{found}; `onnx-nepenthe collapse` removes what can go" if lines else f"{found}{_then(step)}")


def bounds_words(observed: Sequence[Observed]) -> str:
    """What having seen something so often is worth, counted by observations and, where known, by samples."""
    often = _percent(max(evidence.bound for evidence in observed))
    start = f"“seen” is no proof: with 95 % confidence a channel leaves its regime in at most {often} % of observations"
    if not all(evidence.samples for evidence in observed):
        return f"{start} like these"
    one = max(evidence.bound_by_samples for evidence in observed)
    layer = _percent(max(evidence.layer_bound_by_samples for evidence in observed))
    more = observations_for(BOUND_TO_HAVE)
    would = f"; {more:,} samples would make that {_percent(BOUND_TO_HAVE)} %" if one > BOUND_TO_HAVE else ""
    return (
        f"{start} like these; as those of one sample hang together, in at most {_percent(one)} % of samples, and any "
        f"channel of a rectifier in at most {layer} %{would}"
    )


def _percent(share: float) -> str:
    """Two digits, but never as a power of ten.

    >>> _percent(0.01234), _percent(1.0)
    ('1.2', '100')
    """
    return f"{100 * share:.{3 if share >= 0.995 else 2}g}"


def with_files(line: str, written: Sequence[Path]) -> str:
    """The last line of a run with the files beside its result.

    >>> with_files("out.onnx written", [Path("r.html"), Path("r.json")])
    'out.onnx written; also written: r.html, r.json'
    """
    return clean(f"{line}; also written: {', '.join(map(str, written))}") if written else line


def next_step(inspection: Inspection, outcome: Outcome | None = None) -> str:
    """What to try: what lets the model run, then what lets more be decided, then what lifts the most refusals.

    The second is data where there are none, or weights that may be read. To take what is slower comes last; "" when
    nothing is known to help.
    """
    found = _foremost(inspection, outcome)
    return "" if found is None else found.lift


def _foremost(inspection: Inspection, outcome: Outcome | None) -> RefusalGroup | None:
    def rank(group: RefusalGroup) -> tuple[bool, bool, bool, int]:
        remedies = remedies_of(group.lift)
        decides = (not inspection.samples and "data" in remedies) or FREEZE in remedies
        return group.stage == "model", decides, group.stage != "latency", len(group.where)

    groups = [group for group in grouped(all_refusals(inspection, outcome)) if group.lift]
    return max(groups, key=rank, default=None)


def _nothing(outcome: Outcome) -> tuple[str, str]:
    """Why nothing could be collapsed, and what to try next."""
    found = _foremost(outcome.inspection, outcome)
    if found is not None:
        times = f", in {len(found.where)} places" if len(found.where) > 1 else ""
        return f" ({_short(found.reason)}{times})", _then(found.lift)
    if all_refusals(outcome.inspection, outcome):
        return "", ". Nothing is known that would change that; -v lists every reason"
    return " (no rectifier is a line and no linear operators follow each other)", ""


def _short(reason: str) -> str:
    """Without the numbers of one of several places.

    >>> _short("16 of 16 channels change regime (entropy 0.708 bits); others alike")
    'channels change regime'
    """
    return _NUMBERS.sub("", reason.removesuffix(ALIKE)).partition(" (entropy")[0]


def _then(step: str) -> str:
    return f". Next: {step}" if step else ""
