"""The matcher: polynomials, products, comparisons, and that its searches are bounded."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.activations.comparison import comparison
from onnx_nepenthe.activations.parameters import channel_constant, fits, numbers, scalar
from onnx_nepenthe.activations.pattern import gates, polynomial, source, unwrap
from onnx_nepenthe.activations.swish import swish_pattern
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView, Tensor

SHAPE = (2, 3, 4, 5)
X = Tensor("x", SHAPE)


def number(value: float, shape: tuple[int, ...] = ()) -> Tensor:
    return Tensor(f"c{value}", shape, constant=np.full(shape, value, np.float32))


def made(op_type: str, *inputs: Tensor, name: str = "", domain: str = "", **attributes: object) -> Tensor:
    name = name or f"{op_type}({','.join(t.name for t in inputs)})"
    view = OpView(op_type, inputs=inputs, outputs=(name,), output_shapes=(SHAPE,), attributes=attributes, domain=domain)
    return Tensor(name, SHAPE, producer=view)


def view_of(tensor: Tensor) -> OpView:
    assert tensor.producer is not None
    return tensor.producer


def test_polynomial() -> None:
    square = made("Mul", X, X)
    cube = made("Pow", X, number(3))
    assert polynomial(X, X) == (0.0, 1.0)
    assert polynomial(number(0), X) == ()
    assert polynomial(made("Sub", number(1), made("Neg", X)), X) == (1.0, 1.0)
    assert polynomial(made("Add", made("Div", square, number(2)), cube), X) == (0.0, 0.0, 0.5, 1.0)
    assert polynomial(made("Mul", made("Add", X, number(1)), made("Sub", X, number(1))), X) == (-1.0, 0.0, 1.0)
    assert polynomial(made("Pow", made("Add", X, number(1)), number(2)), X) == (1.0, 2.0, 1.0)


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        Tensor("other", SHAPE),
        made("Add", X, Tensor("other", SHAPE)),
        made("Div", number(1), X),
        made("Div", X, number(0)),
        made("Pow", X, number(4)),
        made("Pow", X, number(0.5)),
        made("Pow", number(2), X),
        made("Mul", made("Mul", X, X), made("Mul", X, X)),
        made("Pow", made("Pow", X, number(3)), number(3)),
        made("Exp", X),
        made("Mul", X, number(2), domain="custom"),
        made("Mul", X, Tensor("c", (3, 1, 1), constant=np.array([1, 2, 3], np.float32).reshape(3, 1, 1))),
        made("Mul", X, number(2, (1, 1, 1, 1, 1))),
        made("Mul", X, number(np.inf)),
    ],
    ids=lambda t: t.name if t else "none",
)
def test_no_polynomial(tensor: Tensor | None) -> None:
    assert polynomial(tensor, X) is None


def test_polynomial_search_is_bounded() -> None:
    """A chain of 10,000 sums: neither the recursion limit nor exponential time."""
    deep = X
    for i in range(10_000):
        deep = made("Add", deep, deep, name=f"v{i}")
    assert polynomial(deep, X) is None
    assert list(gates(view_of(made("Mul", deep, deep)), "Sigmoid")) == []
    for i in range(10_000):
        deep = made("Mul", deep, deep, name=f"w{i}")
    assert list(gates(view_of(deep), "Sigmoid", "Tanh", "Erf")) == []


def test_source_looks_through_identity() -> None:
    assert source(made("Identity", made("Identity", X))) is X
    custom = made("Identity", X, domain="custom")
    assert source(custom) is custom


def test_unwrap() -> None:
    core = made("Erf", X)
    found = unwrap(made("Sub", number(1), made("Div", core, number(2))), "Erf")
    assert found is not None
    assert found[0] is core.producer
    assert found[1:] == (-0.5, 1.0)
    assert unwrap(made("Mul", core, core), "Erf") is None
    assert unwrap(made("Pow", core, number(2)), "Erf") is None
    assert unwrap(None, "Erf") is None


def test_gates_take_factors_in_any_order() -> None:
    sigmoid = made("Sigmoid", X)
    for product in (
        made("Mul", X, made("Mul", sigmoid, number(2))),
        made("Mul", made("Mul", number(2), X), sigmoid),
        made("Div", made("Mul", sigmoid, X), number(0.5)),
    ):
        assert ("x", 2.0, 0.0) in [(gate.x.name, gate.scale, gate.shift) for gate in gates(view_of(product), "Sigmoid")]


def test_gate_whose_x_is_itself_a_product() -> None:
    scaled = made("Mul", X, number(3))
    match = swish_pattern(view_of(made("Mul", scaled, made("Sigmoid", scaled))))
    assert match is not None
    assert match.operand is scaled
    assert match.op == "Silu"


@pytest.mark.parametrize(
    ("tensor", "above", "knot_above"),
    [
        (made("Greater", X, number(2)), True, False),
        (made("GreaterOrEqual", X, number(2)), True, True),
        (made("Less", X, number(2)), False, True),
        (made("LessOrEqual", X, number(2)), False, False),
        (made("Greater", number(2), X), False, True),
        (made("GreaterOrEqual", number(2), X), False, False),
        (made("Less", number(2), X), True, False),
        (made("LessOrEqual", number(2), X), True, True),
        (made("Not", made("Greater", X, number(2))), False, False),
    ],
    ids=lambda t: t.name if isinstance(t, Tensor) else "",
)
def test_comparison(tensor: Tensor, above: bool, knot_above: bool) -> None:
    found = comparison(tensor)
    assert found is not None
    assert (found.x, found.threshold, found.true_above, found.knot_above) == (X, 2.0, above, knot_above)


def test_no_comparison() -> None:
    assert comparison(made("Equal", X, number(0))) is None
    assert comparison(made("Greater", X, Tensor("other", SHAPE))) is None
    assert comparison(made("Greater", number(1), number(0))) is None
    assert comparison(made("Greater", X, Tensor("c", (5,), constant=np.arange(5, dtype=np.float32)))) is None


def test_fits() -> None:
    assert fits((), None)
    assert fits((1,), None)
    assert not fits((3,), None)
    assert fits((3, 1, 1), None, one_way=True)
    assert not fits((1,), ())
    assert not fits((5,), ("n", "w"))
    assert fits((5,), ("n", "w"), one_way=True)
    assert fits((1, 1), ("n", None))


def test_scalar() -> None:
    assert scalar(number(2, (2, 3, 4, 5)), SHAPE) == 2.0
    assert scalar(number(2, (2, 3, 4, 5)), ("n", 3, 4, 5)) is None
    assert scalar(Tensor("b", (), constant=np.array(True)), SHAPE) is None
    assert scalar(Tensor("e", (0,), constant=np.zeros(0)), SHAPE) is None
    assert scalar(X, SHAPE) is None


def test_channel_constant_finds_the_axis_by_broadcasting() -> None:
    c = np.array([1.0, 2.0, 3.0])
    for shape, like, axis in [((3, 1, 1), SHAPE, 1), ((3,), (7, 8, 3), 2), ((1, 3), ("n", 3), 1), ((3,), (3, 3), 1)]:
        found = channel_constant(c.reshape(shape), like)
        assert not isinstance(found, Refused)
        assert found[1] == axis
        assert np.array_equal(found[0], c)
    spread = channel_constant(np.broadcast_to(c.reshape(3, 1, 1), (3, 4, 5)), SHAPE)
    assert not isinstance(spread, Refused)
    assert spread[1] == 1
    assert np.array_equal(spread[0], c)


@pytest.mark.parametrize(
    ("array", "like", "reason"),
    [
        (np.array([np.nan]), SHAPE, "contains NaN"),
        (np.arange(3.0), SHAPE, "does not broadcast"),
        (np.arange(5.0).reshape(5, 1), (2, 1, 4), "does not broadcast"),
        (np.arange(20.0).reshape(4, 5), SHAPE, "more than one axis"),
    ],
)
def test_channel_constant_refuses(array: np.ndarray, like: tuple[int, ...], reason: str) -> None:
    found = channel_constant(array, like)
    assert isinstance(found, Refused)
    assert reason in found.reason


def test_channel_constant_of_unknown_rank() -> None:
    found = channel_constant(np.arange(3.0), None, one_way=True)
    assert isinstance(found, Refused)
    assert "rank of its input is unknown" in found.reason


def test_numbers() -> None:
    assert numbers(None) is None
    assert numbers(np.array(["a"])) is None
    found = numbers(np.array([1], np.float16))
    assert found is not None
    assert found.dtype == np.float64
