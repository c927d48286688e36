"""Change operators of an `Editor`'s model where they stand, so that their names and their results' names stay."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir


def set_operand(result: ir.Value, index: int, operand: ir.Value) -> None:
    """Let the operator that makes `result` take `operand` at `index`; operands omitted before it stay omitted.

    Raises:
        ValueError: no operator makes `result`.
    """
    node = _maker(result)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, operand)


def set_attribute(result: ir.Value, name: str, value: Any) -> None:
    """Give the operator that makes `result` the attribute `name`: a plain Python value.

    Raises:
        ValueError: no operator makes `result`.
    """
    _maker(result).attributes[name] = ir.convenience.convert_attribute(name, value)


def forget_shape(value: ir.Value) -> None:
    """Let shape inference find out the shape anew."""
    value.shape = None


def _maker(result: ir.Value) -> ir.Node:
    node = result.producer()
    if node is None:
        raise ValueError(f"no operator makes {result.name!r}")
    return node
