"""Substitutes that change more than one operator, one kind a file; importing the package fills `KINDS`."""

from onnx_nepenthe.kinds import border, bypass, gate, narrow
from onnx_nepenthe.kinds.base import KINDS, Kind, Offer, Seen, rarely_on

__all__ = ["KINDS", "Kind", "Offer", "Seen", "border", "bypass", "gate", "narrow", "rarely_on"]
