"""After the rewrite: verify, take back decisions that new data contradict, name culprits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.observed import explaining
from onnx_nepenthe.assuming import assumed, assumed_result
from onnx_nepenthe.candidate import Candidate
from onnx_nepenthe.cutting import Cut
from onnx_nepenthe.errors import Refused, UsageError, VerificationError
from onnx_nepenthe.graph.interface import compare as compare_interfaces
from onnx_nepenthe.graph.interface import interface_of
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.inspection import Findings, side_of
from onnx_nepenthe.linearise import UNDECIDED, Decision, Linearised, Undecided
from onnx_nepenthe.measure import measure
from onnx_nepenthe.narrowing import observed_rectifiers, without
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Refusal
from onnx_nepenthe.plan import Region
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.rewrite import rewrite
from onnx_nepenthe.samples import verification_batches
from onnx_nepenthe.verify import Batch, Verdict, bisect, verify


def check(findings: Findings, new: Model, options: Options, cuts: Sequence[Cut] = ()) -> Verdict:
    """Compare `new` with the input: the interface, then numbers on data calibration never saw.

    With a recorded measurement and no data, what it observed is taken for granted in both (`assuming`).

    Args:
        findings: of the input.
        new: the result.
        options: of the run.
        cuts: that `new` rests on.

    Raises:
        UsageError: the data lie outside the declared input ranges, on which proofs rest.
    """
    options.progress("verifying", 0, None)
    differences = compare_interfaces(interface_of(findings.model), interface_of(new))
    if differences:
        return Verdict(False, interface=tuple(differences), reason=f"the interface changed: {differences[0]}")
    batches, name, disjoint = verification_batches(findings, options)
    batches = _within(batches, options.input_ranges)
    before = findings.model
    if findings.source is None and findings.measurement is not None:
        before, new = assumed(findings, cuts), assumed_result(findings, cuts, new)
        name = f"{name}, with what was measured taken for granted"
    depth = side_of(findings.view).size.weighted_depth
    return verify(before, new, batches, depth=depth, config=options.config, source=name, disjoint=disjoint)


def _within(batches: Iterator[Batch], ranges: Mapping[str, tuple[float, float]]) -> Iterator[Batch]:
    """The batches as they are, as long as they keep to `ranges`."""
    for batch in batches:
        for name in sorted(ranges.keys() & batch.feeds.keys()):
            low, high = ranges[name]
            least, most = np.min(batch.feeds[name], initial=high), np.max(batch.feeds[name], initial=low)
            if not low <= least <= most <= high:
                raise UsageError(
                    f"the data of input {name} go from {least:g} to {most:g}, outside the declared range "
                    f"{low:g}:{high:g}; widen --input-range, or mend the data"
                )
        yield batch


def take_back(findings: Findings, cuts: Sequence[Cut], options: Options) -> tuple[Findings, tuple[Refusal, ...]]:
    """Findings without what was observed, decided or cut, and verification data contradict; and which that was."""
    linearised = findings.linearised
    observed = tuple(d.rectifier for d in linearised.decisions.values() if d.observed)
    cut = observed_rectifiers(cuts)
    partly = tuple(u.rectifier for key, u in linearised.undecided.items() if key in cut)
    if findings.source is None or not (observed or partly):
        return findings, ()
    seen = measure(
        findings.model,
        (*observed, *partly),
        findings.source,
        config=options.config,
        batch=options.batch,
        limit=options.verify_limit,
        part="verification",
    )
    decisions, undecided = dict(linearised.decisions), dict(linearised.undecided)
    refusals: list[Refusal] = []
    for rectifier in observed:
        decision, counts = decisions[rectifier.key], seen.counts[rectifier.key]
        wrong = _contradictions(decision, counts)
        if wrong.any():
            reason = _not_held(int(wrong.sum()))
            del decisions[rectifier.key]
            undecided[rectifier.key] = Undecided(rectifier, reason, np.where(wrong, UNDECIDED, decision.pieces))
            refusals.append(Refusal.of(rectifier.label, "verification", reason))
    for rectifier in partly:
        one, counts = undecided[rectifier.key], seen.counts[rectifier.key]
        wrong = _contradictions(one, counts)
        if wrong.any():
            undecided[rectifier.key] = replace(one, pieces=np.where(wrong, UNDECIDED, one.pieces))
            refusals.append(Refusal.of(rectifier.label, "verification", _not_held(int(wrong.sum()))))
    return replace(findings, linearised=Linearised(decisions, undecided)), tuple(refusals)


def _not_held(channels: int) -> Refused:
    return Refused(
        f"held on the calibration data, but not on the verification data ({channels} channels)",
        "calibrate on more, or more representative, data",
    )


def _contradictions(entry: Decision | Undecided, counts: RegimeCounts) -> npt.NDArray[np.bool_]:
    """bool (channels,): seen outside the piece the channel was in; all of them when NaN was seen."""
    decided = entry.pieces != UNDECIDED
    fits = explaining(entry.rectifier.activation, counts)[np.where(decided, entry.pieces, 0), np.arange(len(decided))]
    held = (fits | (counts.observations == 0)) & (counts.nonfinite == 0)
    return np.asarray(decided & ~held)


def blame(findings: Findings, candidate: Candidate, verdict: Verdict, options: Options) -> VerificationError:
    """The error that names the cuts or regions without which the others pass."""
    narrowed = candidate.narrowed

    def passes(regions: Sequence[Region]) -> bool:
        base = narrowed.findings
        return check(findings, rewrite(base.model, base.view, regions), options, narrowed.cuts).passed

    def passes_cut(cuts: Sequence[Cut]) -> bool:
        return check(findings, without(findings, cuts).model, options, cuts).passed

    try:
        if narrowed.cuts and not passes_cut(narrowed.cuts):
            culprits = " and ".join(cut.name for cut in bisect(narrowed.cuts, passes_cut))
        else:
            culprits = " and ".join(region.name for region in bisect(candidate.regions, passes))
    except VerificationError as error:
        return VerificationError(f"verification failed: {verdict.reason}; {error}; nothing was written")
    return VerificationError(
        f"verification failed: {verdict.reason}; the culprit is the rewrite that makes {culprits}; "
        "nothing was written. Leave its rule out with --skip-rule, and please report it"
    )
