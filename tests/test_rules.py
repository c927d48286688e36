"""Rules by name."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.kinds import to_ir
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.rules import check_rules, rules
from tests.helpers.build import Builder


def test_names_are_known_whatever_their_kind() -> None:
    assert check_rules(["Relu", "Gelu(erf)", "Conv"]) == frozenset({"Relu", "Gelu(erf)", "Conv"})
    assert check_rules([]) == frozenset()


@pytest.mark.parametrize(("name", "hint"), [("relu", "Relu"), ("GemmMatMul", "MatMul"), ("§", "--list-rules")])
def test_an_unknown_name_comes_with_close_ones(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        check_rules([name])


def test_rectifiers_know_the_rule_that_found_them() -> None:
    b = Builder(np.random.default_rng(0))
    gate = b.node("Mul", "x", b.node("Sigmoid", "x"))
    model = b.model({"x": ("N", 4)}, [b.node("Relu", gate)])
    found, _ = find_rectifiers(view_from_model(to_ir(model)[0]))
    assert {r.rule for r in found} == {"Swish", "Relu"}
    assert {r.rule for r in found} <= {name for names in rules().values() for name in names}
