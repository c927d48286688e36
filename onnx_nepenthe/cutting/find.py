"""Find dead and constant channels that every layer that reads them can do without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from onnx_nepenthe.cutting.carriers import Carriers, choose_carriers
from onnx_nepenthe.cutting.lanes import NEEDS_NO_DATA, VARIES, Classes, IntArray, Lanes
from onnx_nepenthe.cutting.records import Cut, CutPlan, CutRefusal, Fold, Removed
from onnx_nepenthe.cutting.trace import End, Known, Trace, trace
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.evidence import Evidence, Observed, Proved
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.linearise import UNDECIDED, Decision, Linearised, Undecided
from onnx_nepenthe.regimes import RegimeCounts

Proofs = Mapping[str, tuple[IntArray, str]]
Counts = Mapping[str, RegimeCounts]
ALIGNED = "it makes the number of channels a multiple of"
LAST_ONE = "one channel of a layer has to stay"
BY_WEIGHTS = Proved("constant by the weights or by bounds on the pre-activation, or read by zero weights only")


def find_cuts(
    view: GraphView,
    linearised: Linearised,
    proofs: Proofs | None = None,
    counts: Counts | None = None,
    skip: frozenset[str] = frozenset(),
    multiple: int = 1,
) -> CutPlan:
    """Channels that are constant wherever they are read, and so can be cut out of producers and consumers.

    A channel is constant when its rectifier holds it in a piece of slope 0, when all weights of its filter are zero,
    or when everything its filter reads is constant. What a constant adds goes into the bias of the layer that reads
    it; where there is none, or padding makes it depend on the position, into the weights of another constant channel.

    Args:
        view: the graph.
        linearised: its rectifiers; all pieces of slope 0 count, decided or not.
        proofs: by rectifier key, the proved piece per channel, as `linearise` takes them.
        counts: by rectifier key, what was observed; without, every piece counts as proved.
        skip: operator types to leave as they are.
        multiple: of which a layer keeps its number of channels, so that kernels for blocks of channels still serve.
    """
    entries: list[Decision | Undecided] = [*linearised.decisions.values(), *linearised.undecided.values()]
    known = {e.rectifier.key: k for e in entries if (k := _known(e, proofs or {}, counts or {})) is not None}
    state = trace(view, known, skip)
    for lanes in state.lanes.values():
        if state.classes.is_free(lanes.classes).all():
            state.classes.keep(lanes.classes[:1], LAST_ONE)
    carriers = choose_carriers(state)
    _round_up(state, multiple)
    labels = {e.rectifier.key: e.rectifier.label for e in entries}
    cuts = tuple(_cut(state, classes, carriers, labels) for classes in _groups(state))
    return CutPlan(cuts, (*_refused(state), *_unreached(state, known, linearised)))


def _known(entry: Decision | Undecided, proofs: Proofs, counts: Counts) -> Known | None:
    """What a rectifier's decision says; None for nothing, and for one that is constant as a whole (`linearise`'s)."""
    rectifier, pieces = entry.rectifier, entry.pieces
    if rectifier.axis is None or rectifier.channels != len(pieces):
        return None
    constants = np.full(len(pieces), VARIES)
    for piece in np.unique(pieces[pieces != UNDECIDED]).tolist():
        slope, intercept = rectifier.activation.line(int(piece), len(pieces))
        flat = (pieces == piece) & (slope == 0) & np.isfinite(intercept)
        constants[flat] = intercept[flat]
    if np.isnan(constants).all() or not np.isnan(constants).any():
        return None
    seen = np.full(len(pieces), NEEDS_NO_DATA, np.int64)
    if rectifier.key in counts:
        proved = proofs.get(rectifier.key, (np.full(len(pieces), UNDECIDED), ""))[0]
        seen = np.where(proved == pieces, NEEDS_NO_DATA, np.maximum(counts[rectifier.key].observations, 1))
    return Known(rectifier.axis, constants, seen)


def _round_up(state: Trace, multiple: int) -> None:
    """Let each layer keep as many more of its channels as make the number that is left a multiple."""
    for name in state.producers:
        lanes = state.lanes.get(name)
        free = np.zeros(0, np.int64) if lanes is None else np.flatnonzero(state.classes.is_free(lanes.classes))
        if lanes is not None and free.size:
            more = min(-(len(lanes) - free.size) % multiple, free.size)
            state.classes.keep(lanes.classes[free[:more]], f"{ALIGNED} {multiple}")


def _groups(state: Trace) -> Iterator[IntArray]:
    """Roots of the classes that go, those of one layer together, in graph order."""
    together = Classes()
    at: dict[int, int] = {}
    for name in state.producers:
        roots = _free_roots(state, state.lanes.get(name))
        for root in roots.tolist():
            at.setdefault(root, int(together.fresh(1)[0]))
        numbers = np.array([at[root] for root in roots.tolist()], np.int64)
        together.tie(numbers, np.broadcast_to(numbers[:1], numbers.shape))
    groups: dict[int, list[int]] = {}
    for root, number in at.items():
        groups.setdefault(int(together.roots(np.array([number]))[0]), []).append(root)
    for group in groups.values():
        yield np.array(group, np.int64)


def _free_roots(state: Trace, lanes: Lanes | None) -> IntArray:
    if lanes is None:
        return np.zeros(0, np.int64)
    return np.unique(state.classes.roots(lanes.classes[state.classes.is_free(lanes.classes)]))


def _positions(state: Trace, lanes: Lanes, roots: IntArray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(np.isin(state.classes.roots(lanes.classes), roots)).tolist())


def _cut(state: Trace, roots: IntArray, carriers: Carriers, labels: Mapping[str, str]) -> Cut:
    removed = tuple(
        Removed(name, lanes.axis, positions)
        for name, lanes in state.lanes.items()
        if (positions := _positions(state, lanes, roots))
    )
    ends = [(end, positions) for end in state.ends if (positions := _positions(state, end.lanes, roots))]
    folds = tuple(_fold(end, positions, carriers) for end, positions in ends)
    makers = [state.producers[entry.value] for entry in removed if entry.value in state.producers]
    return Cut(
        name=makers[0].key,
        label=makers[0].label,
        channels=len(roots),
        removed=removed,
        folds=folds,
        rectifiers=tuple(labels[entry.value] for entry in removed if entry.value in labels),
        changed=tuple(dict.fromkeys((*(op.label for op in makers), *(end.label for end, _ in ends)))),
        evidence=_evidence(ends, folds),
    )


def _fold(end: End, positions: tuple[int, ...], carriers: Carriers) -> Fold:
    at = list(positions)
    constants = np.where(end.reads[at] & end.lanes.is_constant[at], end.lanes.constants[at], 0.0)
    carrier = None if end.absorbs or not constants.any() else carriers[end.key]
    carried = 1.0 if carrier is None else float(end.lanes.constants[carrier])
    return Fold(end.key, positions, tuple(constants.tolist()), carrier, carried)


def _evidence(ends: list[tuple[End, tuple[int, ...]]], folds: tuple[Fold, ...]) -> Evidence:
    seen: list[int] = []
    for (end, positions), fold in zip(ends, folds, strict=True):
        at = [p for p in (*positions, fold.carrier) if p is not None and end.reads[p]]
        seen.extend(end.lanes.seen[at].tolist())
    observed = [n for n in seen if n != NEEDS_NO_DATA]
    return Observed(min(observed)) if observed else BY_WEIGHTS


def _refused(state: Trace) -> Iterator[CutRefusal]:
    """Channels that are constant somewhere and stay all the same, by layer and reason."""
    constant = [state.classes.roots(lanes.classes[lanes.is_constant]) for lanes in state.lanes.values()]
    wanted = np.unique(np.concatenate(constant)) if constant else np.zeros(0, np.int64)
    told: set[int] = set()
    for name, op in state.producers.items():
        lanes = state.lanes.get(name)
        if lanes is None:
            continue
        reasons: dict[str, int] = {}
        for root in np.intersect1d(state.classes.roots(lanes.classes), wanted).tolist():
            reason = state.classes.reason(root)
            if reason and root not in told:
                told.add(root)
                reasons[reason] = reasons.get(reason, 0) + 1
        for reason, count in reasons.items():
            yield CutRefusal(op.key, op.label, count, Refused(reason))


def _unreached(state: Trace, known: Mapping[str, Known], linearised: Linearised) -> Iterator[CutRefusal]:
    """Constant channels of rectifiers that stay and whose channels could not be followed from a layer."""
    for entry in linearised.undecided.values():
        rectifier = entry.rectifier
        lanes = state.lanes.get(rectifier.output)
        facts = known.get(rectifier.key)
        if facts is None or (lanes is not None and lanes.axis == facts.axis and len(lanes) == len(facts.constants)):
            continue
        reason = state.untracked.get(rectifier.operand, "its channels do not come from one layer that stays")
        yield CutRefusal(rectifier.key, rectifier.label, int((~np.isnan(facts.constants)).sum()), Refused(reason))
