"""Errors that nobody foresaw: whose fault they are."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.blaming import blamed
from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.session import SessionConfig

SOUND = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[2, 3] x) => (float[2, 3] y) <float[3] w = {1.0, 2.0, 3.0}> { y = Add(x, w) }
"""
HEADER = '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3] x) => (float[2, 3] y) '
NO_PRODUCT = HEADER + "{ y = MatMul(x, x) }"
UNKNOWN_OPERATOR = HEADER + "{ y = Nobody(x) }"


def worked_on(text: str, error: BaseException) -> None:
    with blamed(ir.from_proto(onnx.parser.parse_model(text)), "m.onnx", SessionConfig()):
        raise error


@pytest.mark.parametrize("text", [NO_PRODUCT, UNKNOWN_OPERATOR])
def test_of_the_model(text: str) -> None:
    with pytest.raises(UnreadableError, match=r"^m\.onnx: is malformed: [^\n]+$"):
        worked_on(text, IndexError("list index out of range"))


def test_of_ours() -> None:
    with pytest.raises(IndexError, match="out of range"):
        worked_on(SOUND, IndexError("list index out of range"))


@pytest.mark.parametrize("error", [UsageError("no"), MemoryError("too much"), KeyboardInterrupt()])
def test_errors_that_were_foreseen_stay(error: BaseException) -> None:
    with pytest.raises(type(error)):
        worked_on(NO_PRODUCT, error)
