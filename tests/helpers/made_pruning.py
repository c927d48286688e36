"""A made-up pruning whose numbers are all known, as `prune --json` writes it."""

from __future__ import annotations

from typing import Any

from onnx_nepenthe.report.json import plain, record_of_outcome
from tests.helpers import outcomes

SITES = ("_1", "_2")


def entry(number: int, accuracy: float, bits: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {
        **{"number": number, "phase": "round", "accuracy": accuracy, "is_accepted": True, "linear": [], "zero": []},
        "narrowed": [],
        **{"entropy": dict(zip(SITES, bits, strict=True)), "sparsity": 0.5 * number, "pq_index": 0.1 + 0.1 * number},
        **{"notes": [], "epochs": 2.0, "seconds_s": 3.4},
        **more,
    }


def pruning(**changes: Any) -> dict[str, Any]:
    """A dense round, one that makes a rectifier linear, one that is not kept; collapsed, and disturbed."""
    note = {"layer": "_2", "reason": f"left alone: {outcomes.HOSTILE}"}
    labels = ("block.relu", outcomes.HOSTILE)
    sites = [{"name": n, "label": t, "op": "Relu", "channels": 8} for n, t in zip(SITES, labels, strict=True)]
    record = {
        **{"command": "prune", "command_line": "onnx-nepenthe prune mlp --data d.npz", "network": "mlp"},
        **{"output": "net.onnx", "method": "nepenthe", "theta": 0.9, "chosen": 1, "epochs": 6.0, "seconds_s": 10.2},
        **{"reason": "accuracy fell below it", "dense_test": 0.97, "test": 0.96, "sites": sites},
        "rounds": [
            entry(0, 0.98, (0.9, 0.8), phase="dense"),
            entry(1, 0.95, (0.0, 0.4), linear=["_1"], notes=[note, note]),
            entry(2, 0.85, (0.0, 0.0), phase="polish", linear=["_1"], zero=["_2"], is_accepted=False),
        ],
        "export": {"difference": 1e-6, "scale": 3.0},
        "environment": {"torch": "2.13"},
        "collapse": plain(record_of_outcome(outcomes.outcome(), output="net.collapsed.onnx")),
        "collapsed_test": 0.96,
        "robustness": [
            {"disturbance": "clean", "strength": 0.0, "samples": 100, "accuracy": {"dense": 0.97, "pruned": 0.96}},
            {"disturbance": "noise", "strength": 0.5, "samples": 100, "accuracy": {"dense": 0.9, "pruned": 0.91}},
        ],
    }
    return record | changes
