"""Records as strictly valid JSON: the same keys in the same order every time, null for what is not known."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from onnx_nepenthe import __version__
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.evidence import Evidence, Observed, Proved
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.measure import to_json
from onnx_nepenthe.outcome import Inspection, Outcome, RectifierRow, Side
from onnx_nepenthe.report.channels import channels_record, confidence_record
from onnx_nepenthe.report.facts import RectifierFacts, all_refusals, facts_of
from onnx_nepenthe.report.layout import laid_out
from onnx_nepenthe.report.price import price_record, rewrite_evidence
from onnx_nepenthe.verify import Verdict

SCHEMA_VERSION = 1
_VERDICT_KEYS = (
    *("passed", "max_abs_error", "mean_abs_error", "max_rel_error", "tolerance", "samples", "agreement"),
    *("top1_before", "top1_after", "disjoint", "source", "engine", "reason", "failing_output", "failing_sample"),
)
_BOUNDS = ("samples", "bound_by_samples", "layer_bound", "layer_bound_by_samples")


def text_from(record: Mapping[str, Any]) -> str:
    """The record as JSON text; no NaN or Infinity, whatever it holds."""
    return laid_out(plain(record)) + "\n"


def plain(value: Any) -> Any:
    """`value` made of what JSON has; numbers that are not finite become null.

    >>> plain({"a": (np.float32(0.5), float("nan")), 1: np.int64(3)})
    {'a': [0.5, None], '1': 3}
    """
    match value:
        case None | bool() | str():
            return value
        case np.bool_():
            return bool(value)
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(entry) for key, entry in value.items()}
        case list() | tuple() | set() | frozenset() | np.ndarray():
            return [plain(entry) for entry in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def record_of_outcome(outcome: Outcome, *, output: object = None, command: str = "") -> dict[str, Any]:
    """What `collapse --json` writes.

    Args:
        outcome: the run.
        output: what was written, None when nothing was.
        command: as typed.
    """
    inspection = outcome.inspection
    return {
        **head("collapse", inspection.name, outcome.message, command),
        "written": output is not None,
        "collapsed": outcome.is_collapsed,
        "output": output,
        **_sizes(inspection.side, outcome.after),
        "latency": latency_record(outcome.latency),
        "verification": verification_record(outcome.verdict),
        "price": price_record(outcome.price),
        **_findings(inspection),
        "rewrites": [
            {
                "value": rewrite.value,
                "source": rewrite.source,
                "replaced": rewrite.replaced,
                "made": rewrite.made,
                "region": rewrite.region,
                "speedup": outcome.speedups.get(rewrite.region),
                "evidence": evidence_record(rewrite_evidence(rewrite, outcome)),
                "before": asdict(rewrite.before),
            }
            for rewrite in outcome.rewrites
        ],
        "refusals": [asdict(refusal) for refusal in all_refusals(inspection, outcome)],
        **_tail(inspection, outcome.options),
    }


def record_of_inspection(
    inspection: Inspection, *, message: str = "", options: Mapping[str, Any] | None = None, command: str = ""
) -> dict[str, Any]:
    """What `inspect --json` writes: keys as in `record_of_outcome`, `after` null."""
    return {
        **head("inspect", inspection.name, message, command),
        "written": False,
        **_sizes(inspection.side, None),
        **_findings(inspection),
        "refusals": [asdict(refusal) for refusal in all_refusals(inspection)],
        **_tail(inspection, options or {}),
        "measurement": None if inspection.measurement is None else to_json(inspection.measurement),
    }


def record_of_verdict(
    verdict: Verdict, models: tuple[str, str], *, message: str, environment: Mapping[str, Any], command: str = ""
) -> dict[str, Any]:
    """What `verify --json` writes."""
    return {
        **head("verify", models[0], message, command),
        "against": models[1],
        "verification": verification_record(verdict),
        "environment": environment_record(environment),
    }


def record_of_error(error: NepentheError, command_name: str, command: str = "") -> dict[str, Any]:
    """What `--json` writes when a command fails."""
    return {
        **head(command_name, None, str(error), command),
        "written": False,
        "error": {"kind": type(error).__name__, "exit_code": error.exit_code, "message": str(error)},
    }


def latency_record(latency: Comparison | None) -> dict[str, Any]:
    """All keys whether it was measured or not."""
    if latency is None:
        return {"measured": False} | {field.name: None for field in fields(Comparison)} | {"faster": None}
    return {"measured": True} | asdict(latency) | {"faster": latency.is_faster}


def verification_record(verdict: Verdict | None) -> dict[str, Any]:
    """All keys whether there was a verification or not (there is none when the result is the input)."""
    if verdict is None:
        return dict.fromkeys(_VERDICT_KEYS) | {"interface": [], "outputs": []}
    outputs = [asdict(row) | {"passed": row.passed} for row in verdict.outputs]
    return {key: getattr(verdict, key) for key in _VERDICT_KEYS} | {"interface": verdict.interface, "outputs": outputs}


def head(command_name: str, model: str | None, message: str, command: str) -> dict[str, Any]:
    """What every record begins with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": f"onnx-nepenthe {__version__}",
        "command": command_name,
        "command_line": command or None,
        "model": model,
        "message": message,
    }


def _sizes(before: Side, after: Side | None) -> dict[str, Any]:
    def pair(name: str) -> dict[str, Any]:
        return {"before": getattr(before.size, name), "after": None if after is None else getattr(after.size, name)}

    return {
        "rectifiers": {"before": before.rectifiers, "after": None if after is None else after.rectifiers},
        "weighted_depth": pair("weighted_depth"),
        "nodes": pair("nodes"),
        "parameters": pair("parameters"),
        "macs": pair("macs"),
        "bytes": pair("weight_bytes"),
    }


def _findings(inspection: Inspection) -> dict[str, Any]:
    facts = [facts_of(row) for row in inspection.rows]
    return {
        "decisions": [_decision(fact) for fact in facts if fact.evidence is not None],
        "rectifier_rows": [_row(fact, row) for fact, row in zip(facts, inspection.rows, strict=True)],
    }


def _decision(facts: RectifierFacts) -> dict[str, Any]:
    return {
        "rectifier": facts.name,
        "op": facts.op,
        "channels": facts.channels,
        "pieces": facts.pieces,
        "removed": facts.status == "removed",
        "proved_channels": facts.proved,
        "observed_channels": facts.observed,
        "evidence": evidence_record(facts.evidence),
    }


def _row(facts: RectifierFacts, row: RectifierRow) -> dict[str, Any]:
    return {
        "rectifier": facts.name,
        "op": facts.op,
        "channels": facts.channels,
        "regimes": facts.regimes,
        "shares": facts.shares,
        "observations": facts.observations,
        "entropy_bits": facts.entropy,
        "status": facts.status,
        "evidence": evidence_record(facts.evidence),
        "reason": facts.reason,
        "lift": facts.lift,
        "curved_mass": facts.curved_mass,
        "per_channel": channels_record(row),
    }


def evidence_record(evidence: Evidence | None) -> dict[str, Any] | None:
    """Kind of evidence and its numbers."""
    match evidence:
        case None:
            return None
        case Proved(how=how):
            return {"kind": "proved", "how": how}
        case Observed(n=n, bound=bound):
            more = {name: getattr(evidence, name) for name in _BOUNDS}
            return {"kind": "observed", "n": n, "bound": bound, **more}
    return {"kind": "fitted", "residual": evidence.residual}


def _tail(inspection: Inspection, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "samples": inspection.samples,
        "notes": inspection.notes,
        "confidence": confidence_record(inspection, options.get("max_flip_rate")),
        "drifts": [asdict(drift) | {"message": str(drift)} for drift in inspection.drifts],
        "measurement": None,
        "options": options,
        "environment": environment_record(inspection.environment),
    }


def environment_record(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Versions and machine, our own version among them."""
    return {"onnx_nepenthe": __version__, **environment}
