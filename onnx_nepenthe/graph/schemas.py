"""Operators against their definition: how many operands and results, which attributes of which type.

What comes after this takes them for granted. Only what ONNX itself defines is checked, and only in what every runtime
insists on as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx

from onnx_nepenthe.errors import UnreadableError

_SINGLE = onnx.defs.OpSchema.FormalParameterOption.Single


def check_operator(node: onnx.NodeProto, opsets: Mapping[str, int]) -> None:
    """Return when `node` is as its definition says, or ONNX has none.

    Args:
        node: the operator.
        opsets: domain → version, "" for the default domain.

    Raises:
        UnreadableError: too few or too many operands or results, an attribute that is missing or of another type.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    schema = _schema(node.op_type, opsets.get(domain, 1), domain)
    if schema is None:
        return
    what = f"{node.op_type} '{node.name}'"
    _check_count(what, "operand", len(node.input), schema.min_input, schema.max_input)
    _check_count(what, "result", len(node.output), schema.min_output, schema.max_output)
    needed = zip(node.input, schema.inputs[: schema.min_input], strict=False)
    for name, parameter in needed:
        if not name and parameter.option == _SINGLE:
            raise UnreadableError(f"{what} lacks its operand '{parameter.name}'")
    _check_attributes(what, node, schema)


def _check_count(what: str, kind: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}" if count > most else f"at least {least}"
        raise UnreadableError(f"{what} has {count} {kind}s where the operator has {wanted}")


def _check_attributes(what: str, node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> None:
    given = set()
    for attribute in node.attribute:
        if attribute.name in given:
            raise UnreadableError(f"{what} has the attribute '{attribute.name}' twice")
        given.add(attribute.name)
        known = schema.attributes.get(attribute.name)
        if known is None or not attribute.type:
            continue
        wanted: Any = known.type
        if attribute.type != int(wanted):
            kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
            raise UnreadableError(f"{what} has the attribute '{attribute.name}' as {kind}, not {wanted.name}")
    for name, known in schema.attributes.items():
        if known.required and name not in given:
            raise UnreadableError(f"{what} lacks its attribute '{name}'")


@cache
def _schema(op_type: str, version: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except (onnx.defs.SchemaError, TypeError):
        # Not ONNX's own, newer than this onnx, or a version that is no 32-bit number.
        return None
