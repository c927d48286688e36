"""Take dead and constant channels out of the layers that stay."""

from onnx_nepenthe.cutting import elementwise, passing, weighted
from onnx_nepenthe.cutting.apply import apply_cuts
from onnx_nepenthe.cutting.carry import cut_counts, cut_linearised, cut_proofs
from onnx_nepenthe.cutting.find import find_cuts
from onnx_nepenthe.cutting.records import Cut, CutPlan, CutRefusal, Fold, Removed

__all__ = [
    "Cut",
    "CutPlan",
    "CutRefusal",
    "Fold",
    "Removed",
    "apply_cuts",
    "cut_counts",
    "cut_linearised",
    "cut_proofs",
    "elementwise",
    "find_cuts",
    "passing",
    "weighted",
]
