"""What is known of every channel of a rectifier, as plain data: the layer's numbers can hide one that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.observed import curved_mass
from onnx_nepenthe.evidence import CONFIDENCE, Observed, observations_for, rate_bound, samples_for_layer
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.linearise import UNDECIDED, Decision
from onnx_nepenthe.outcome import Inspection, RectifierRow
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.sums import LineSums

BOUND_TO_HAVE = 1e-3
"""A flip rate to compare what there is with where none was asked for."""
SHARE_DIGITS = 6


def channels_record(row: RectifierRow) -> dict[str, Any]:
    """Lists with one entry a channel; None for what was not measured.

    `observations` are samples x positions, `bound` 3 / observations, and `bound_by_samples` what holds although the
    positions of one sample hang together; bounds are None for channels that are proved or in no one regime. `shares`
    has such a list per regime: of the channel's observations, those in it, ties left out.
    """
    names, pieces = row.rectifier.activation.names, row.found.pieces
    proved = np.zeros(len(pieces), bool) if row.proved is None else (row.proved != UNDECIDED) & (pieces == row.proved)
    rests_on_data = (pieces != UNDECIDED) & ~proved
    # Counts of a rectifier whose channel axis is not known are those of all channels together.
    seen = np.broadcast_to(0 if row.seen is None else row.seen, pieces.shape)
    counts, known = row.counts, row.seen is not None
    return {
        "regime": [None if piece == UNDECIDED else names[piece] for piece in pieces.tolist()],
        "evidence": [_word(*pair) for pair in zip(proved.tolist(), rests_on_data.tolist(), strict=True)],
        "observations": seen.tolist() if known else None,
        "samples": row.samples if known else None,
        "bound": _where(rests_on_data, [rate_bound(n) for n in seen.tolist()]) if known else None,
        "bound_by_samples": _where(rests_on_data, [rate_bound(row.samples)] * len(seen)) if known else None,
        "shares": None if counts is None else _shares(names, counts),
        "entropy_bits": None if counts is None else counts.channel_entropy().tolist(),
        "curved_mass": None if counts is None else curved_mass(row.rectifier.activation, counts).tolist(),
        "low": None if counts is None else counts.low.tolist(),
        "high": None if counts is None else counts.high.tolist(),
        "line": None if row.lines is None else _line(row.lines),
        "classes": None if row.classes is None or not row.classes.by_class else _classes(row.classes),
    }


def _line(sums: LineSums) -> dict[str, Any]:
    """The least-squares line y = slope z + intercept, and what it leaves of the variance of y."""
    slope, intercept = sums.line()
    return {"slope": slope.tolist(), "intercept": intercept.tolist(), "residual": sums.residual().tolist()}


def _classes(counts: ClassCounts) -> dict[str, Any]:
    """First-order PSP-entropy, and what the regime tells about the class, in bits (ALGORITHMS.md §6)."""
    return {
        "labels": list(counts.classes),
        "psp_entropy_bits": counts.psp_entropy().tolist(),
        "mutual_information_bits": counts.mutual_information().tolist(),
    }


def _shares(names: tuple[str, ...], counts: RegimeCounts) -> dict[str, list[float]]:
    total = np.maximum(counts.counts.sum(axis=0), 1)
    shares = {name: np.zeros(total.shape) for name in dict.fromkeys(names)}
    for name, count in zip(names, counts.counts, strict=True):
        shares[name] += count / total
    return {name: np.round(share, SHARE_DIGITS).tolist() for name, share in shares.items()}


def confidence_record(inspection: Inspection, max_flip_rate: float | None) -> dict[str, Any]:
    """What the samples support, and how many it takes for the flip rate that was asked for (or for 1e-3)."""
    rate = BOUND_TO_HAVE if max_flip_rate is None else max_flip_rate
    found = [row.found.evidence for row in inspection.rows if isinstance(row.found, Decision)]
    channels = max((evidence.channels for evidence in found if isinstance(evidence, Observed)), default=0)
    return {
        "level": CONFIDENCE,
        "max_flip_rate": max_flip_rate,
        "samples": inspection.samples,
        "bound_by_samples": rate_bound(inspection.samples),
        "rate": rate,
        "samples_needed": observations_for(rate),
        "samples_needed_for_layer": samples_for_layer(rate, channels) if channels else None,
    }


def _word(is_proved: bool, is_observed: bool) -> str | None:
    return "proved" if is_proved else "observed" if is_observed else None


def _where(chosen: npt.NDArray[np.bool_], values: list[float]) -> list[float | None]:
    return [value if wanted else None for wanted, value in zip(chosen.tolist(), values, strict=True)]
