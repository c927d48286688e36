"""The stages in order: find, cut, plan, time, rewrite, verify."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_nepenthe import inspection
from onnx_nepenthe.budgeted import collapse_within
from onnx_nepenthe.candidate import Candidate, make_candidate
from onnx_nepenthe.checking import blame, check, take_back
from onnx_nepenthe.errors import Refused, VerificationError
from onnx_nepenthe.graph.inlining import prepared
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.inspection import Findings, find, side_of
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.narrowing import journal_of_cuts
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Inspection, Outcome, Refusal
from onnx_nepenthe.preparing import collapse_prepared, is_prepared
from onnx_nepenthe.rectifiers import Rectifier, parts_of
from onnx_nepenthe.rewrite import Rewrite, journal
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.steps import Step
from onnx_nepenthe.subgraphs import collapse_bodies
from onnx_nepenthe.verify import Verdict

ROUNDS = 4
"""How often decisions that verification data contradict are taken back before giving up."""

UNUSED_LINE = Refused("it is a line, but no operator beside it can take it, and one of its own costs no less")


def inspect(model: Model, name: str, options: Options) -> Inspection:
    """What `onnx-nepenthe inspect` reports; nothing is changed.

    Raises:
        NepentheError: unreadable data, a model that cannot be run on them.
    """
    model = prepared(model, freeze=options.freeze_initializers, inline=options.inline_functions)
    return inspection.report(find(model, options), name, options)


def collapse(model: Model, name: str, options: Options) -> Outcome:
    """Collapse `model` (onnx_ir, not changed).

    Returns:
        The outcome; its `model` is None when the input is the best there is.

    Raises:
        VerificationError: a rewritten model differs from its input and the culprit cannot be left out.
        NepentheError: unreadable data, or a model that cannot be run on them.
    """
    if is_prepared(options):
        return collapse_prepared(model, name, options, collapse)
    if options.max_drop is not None or options.target_speedup is not None:
        return collapse_within(model, name, options, collapse)
    findings = find(model, options, scan=True)
    withdrawn: tuple[Refusal, ...] = ()
    for _ in range(ROUNDS):
        candidate = make_candidate(findings, options)
        if candidate.model is None:
            return collapse_bodies(findings, _outcome(findings, candidate, None, withdrawn, name, options), options)
        verdict = check(findings, candidate.model, options, candidate.narrowed.cuts)
        # Also when the numbers pass: a flip may be smaller than the tolerance, and is no less a flip.
        agreed, taken_back = take_back(findings, candidate.narrowed.cuts, options)
        if not taken_back and verdict.passed:
            outcome = _outcome(findings, candidate, verdict, withdrawn, name, options)
            return collapse_bodies(findings, outcome, options)
        if not taken_back:
            raise blame(findings, candidate, verdict, options)
        findings, withdrawn = agreed, withdrawn + taken_back
    raise VerificationError(f"{name}: verification still failed after {ROUNDS} rounds; nothing was written")


def _outcome(
    findings: Findings,
    candidate: Candidate,
    verdict: Verdict | None,
    withdrawn: tuple[Refusal, ...],
    name: str,
    options: Options,
) -> Outcome:
    view = findings.view if candidate.model is None else view_from_model(candidate.model)
    rewrites = () if candidate.model is None else _journal(candidate)
    renamed = _renamed(rewrites, findings.view, view)
    gone = frozenset(r.key for r in findings.rectifiers if _is_gone(r, findings, view, renamed))
    feeds = timing_feeds(findings, options)
    before, after = candidate.dims, candidate.dims
    if feeds is not None and candidate.model is not None:
        before = before or run_sizes(findings.model, findings.view, feeds, options.config)
        after = run_sizes(candidate.model, view, feeds, options.config)
    return Outcome(
        inspection=inspection.report(findings, name, options, gone, before),
        model=candidate.model,
        after=side_of(view, after),
        rewrites=rewrites,
        speedups=candidate.speedups,
        refusals=(*withdrawn, *candidate.refusals, *_unused_lines(findings, candidate, gone)),
        latency=candidate.latency,
        verdict=verdict,
        options={"latency": options.latency, "seed": options.seed, "proved_only": options.proved_only},
        message="collapsed" if candidate.model is not None else "nothing could be collapsed",
        steps=() if candidate.model is None else (Step(candidate.narrowed.cuts, candidate.regions),),
    )


def _unused_lines(findings: Findings, candidate: Candidate, gone: frozenset[str]) -> Iterator[Refusal]:
    """The lines that stay, unless a refusal names them already."""
    named = {label for refusal in candidate.refusals for label in refusal.where.split(" + ")}
    for key, decision in findings.linearised.decisions.items():
        label = decision.rectifier.label
        if key not in gone and label not in named:
            yield Refusal.of(label, "composition", UNUSED_LINE)


def _journal(candidate: Candidate) -> tuple[Rewrite, ...]:
    narrowed = candidate.narrowed
    return (*journal_of_cuts(narrowed.cuts), *journal(narrowed.findings.view, candidate.regions))


def _renamed(rewrites: tuple[Rewrite, ...], before: GraphView, after: GraphView) -> dict[str, str]:
    """Value → the output whose name it took, as nothing is left between the two."""
    passed = {rewrite.value: rewrite.source for rewrite in rewrites if rewrite.made == "nothing"}
    found = {}
    for output in before.outputs:
        value = output
        while value in passed:
            value = passed[value]
        old, new = before.op_of(value), after.op_of(output)
        if value == output or old is None or new is None or after.op_of(value) is not None:
            continue
        if old.op_type == new.op_type:
            found[value] = output
    return found


def _is_gone(rectifier: Rectifier, findings: Findings, after: GraphView, renamed: dict[str, str]) -> bool:
    """Whether its operator is; of one that is no line, each it is spelt in, as some may join what is around it."""
    is_line = rectifier.key in findings.linearised.decisions
    keys = {rectifier.key} if is_line else {rectifier.key} | parts_of(findings.view, rectifier)
    return not any(_is_left(key, findings.view, after, renamed) for key in keys)


def _is_left(key: str, before: GraphView, after: GraphView, renamed: dict[str, str]) -> bool:
    """Whether the operator that makes the value is in both graphs; an output keeps its name when it is replaced."""
    if key in renamed:
        return True
    old, new = before.op_of(key), after.op_of(key)
    if old is None or new is None or key in renamed.values():
        return False
    return (old.op_type, old.label) == (new.op_type, new.label)
