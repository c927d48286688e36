"""Measured prices: one timing for all that takes equally long, none for what is hopeless."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, PerChannel
from onnx_nepenthe.charting import chart
from onnx_nepenthe.costs import (
    MUST_GAIN,
    SECONDS_PER_MAC,
    MeasuredCosts,
    form_signature,
    fused_after,
    op_signature,
    random_input,
)
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.latency import SMALLEST_COST_S
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.session import SessionConfig, open_session
from tests.helpers.build import Builder, Dims

CONFIG = SessionConfig(threads=1)


class Table:
    """Runs what it is to time once, and counts."""

    is_closed = False

    def __init__(self, *, refuses: bool = False) -> None:
        self.models: dict[str, onnx.ModelProto] = {}
        self._refuses = refuses

    def cost_s(self, key: str, build: Callable[[], tuple[ir.Model, Mapping[str, Any]]]) -> float:
        if self._refuses:
            raise UnsupportedError("not on this machine")
        if key not in self.models:
            model, feeds = build()
            open_session(model, CONFIG).run(feeds)
            self.models[key] = ir.to_proto(model)
        return 1.0 + len(self.models)

    @property
    def types(self) -> list[list[str]]:
        return [[node.op_type for node in model.graph.node] for model in self.models.values()]


def builder(**kinds: str) -> Builder:
    return Builder(np.random.default_rng(0), **kinds)  # type: ignore[arg-type]


def costs_of(model: onnx.ModelProto, table: Table, **dims: int) -> tuple[MeasuredCosts, Atlas]:
    loaded = ir.from_proto(model)
    atlas = chart(view_from_model(loaded), {})
    return MeasuredCosts(loaded, atlas.view, table, dims), atlas  # type: ignore[arg-type]


def form_of(atlas: Atlas, source: str, name: str) -> Form:
    form = atlas.form(source, name)
    assert isinstance(form, Form)
    return form


def two_convs(
    after: Callable[[Builder, str], str] | None = None, dtype: str = "float", dims: Dims = (1, 4, 8, 8)
) -> Any:
    g = builder(dtype=dtype)
    a = g.conv("x", (4, 4), (1, 1))
    y = g.conv(a, (4, 4), (3, 3))
    out = y if after is None else after(g, y)
    return g.model({"x": dims}, [out]), a, y


def test_equal_operators_are_timed_once() -> None:
    g = builder()
    names, y = [], "x"
    for _ in range(4):
        y = g.node("Sigmoid", g.gemm(y, (4, 4)))
        names.append(y)
    model = g.model({"x": [2, 4]}, [y])
    table = Table()
    costs, atlas = costs_of(model, table)
    prices = {costs.keep(value, None) for value in atlas.affine.values()}
    assert len(prices) == len(table.models) == 1


def test_what_is_timed_is_the_operator_and_the_activation_behind_it() -> None:
    model, a, y = two_convs(lambda g, v: g.node("Relu", v))
    table = Table()
    costs, atlas = costs_of(model, table)
    costs.keep(atlas.affine[a], form_of(atlas, "x", a))
    costs.keep(atlas.affine[y], form_of(atlas, a, y))
    costs.single(form_of(atlas, "x", y), y)
    assert table.types == [["Conv"], ["Conv", "Relu"], ["Conv", "Relu"]]


ACTIVATIONS: dict[str, Callable[[Builder, str], str]] = {
    "Relu": lambda g, v: g.node("Relu", v),
    "Sigmoid": lambda g, v: g.node("Sigmoid", v),
    "LeakyRelu": lambda g, v: g.node("LeakyRelu", v, alpha=0.3),
    "Clip": lambda g, v: g.node("Clip", v, g.constant(0.0), g.constant(6.0)),
    "Clip below": lambda g, v: g.node("Clip", v, g.constant(0.0)),
    "Clip above": lambda g, v: g.node("Clip", v, "", g.constant(6.0)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_old_and_new_are_timed_with_the_same_activation(name: str) -> None:
    model, a, y = two_convs(ACTIVATIONS[name])
    table = Table()
    costs, atlas = costs_of(model, table)
    costs.keep(atlas.affine[y], form_of(atlas, a, y))
    costs.single(form_of(atlas, "x", y), y)
    kept, new = (made.graph.node[-1] for made in table.models.values())
    assert kept.op_type == new.op_type == name.split(maxsplit=1)[0]
    assert [attribute.f for attribute in kept.attribute] == [attribute.f for attribute in new.attribute]
    assert len(kept.input) == len(new.input)


def test_an_activation_that_others_share_or_that_is_not_fused_is_none_of_its_business() -> None:
    g = builder()
    a, b, c, d = (g.conv("x", (4, 4), (1, 1)) for _ in range(4))
    outputs = [
        g.node("Relu", a),
        g.node("Sigmoid", a),
        g.node("Tanh", b),
        g.node("Clip", c, g.node("ReduceMin", "x", keepdims=0)),
        g.node("Relu", d),
        d,
    ]
    view = view_from_model(ir.from_proto(g.model({"x": [1, 4, 8, 8]}, outputs)))
    assert [fused_after(view, name) for name in (a, b, c, d)] == [None] * 4


def test_an_activation_of_another_domain_is_not_fused() -> None:
    model, _, y = two_convs(lambda g, v: g.node("Relu", v))
    assert fused_after(view_from_model(ir.from_proto(model)), y) is not None
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    assert fused_after(view_from_model(ir.from_proto(model)), y) is None


def test_new_operators_have_to_gain_a_little() -> None:
    model, a, y = two_convs()
    costs, atlas = costs_of(model, Table())
    assert costs.single(form_of(atlas, "x", y), y) == MUST_GAIN * 2
    assert costs.keep(atlas.affine[a], form_of(atlas, "x", a)) == 3


def test_nothing_to_do_is_free_and_moving_nothing_almost() -> None:
    g = builder()
    y = g.node("Identity", "x")
    z = g.node("Flatten", y)
    table = Table()
    costs, atlas = costs_of(g.model({"x": [1, 4, 8, 8]}, [z]), table)
    assert costs.single(form_of(atlas, "x", y), y) == 0.0
    for name in (y, z):
        operand = atlas.affine[name].operands[0]
        assert costs.keep(atlas.affine[name], form_of(atlas, operand, name)) == SMALLEST_COST_S
    assert not table.models


def test_hopeless_candidates_are_not_timed() -> None:
    """A bottleneck of 64 → 1 → 64 channels as one 64 x 64 product is 32 times the work."""
    g = builder()
    a = g.gemm("x", (64, 1))
    y = g.gemm(a, (1, 64))
    table = Table()
    costs, atlas = costs_of(g.model({"x": [1, 64]}, [y]), table)
    price = costs.single(form_of(atlas, "x", y), y)
    assert not table.models
    assert price > 64 * 64 * SECONDS_PER_MAC


def test_what_cannot_run_is_priced_by_multiply_adds() -> None:
    model, a, y = two_convs()
    costs, atlas = costs_of(model, Table(refuses=True))
    single, keep = costs.single(form_of(atlas, "x", y), y), costs.keep(atlas.affine[a], form_of(atlas, "x", a))
    assert 0 < keep < single < 1e-3


@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
def test_types_are_timed_as_they_are(dtype: str) -> None:
    g = builder(dtype=dtype)
    a = g.gemm("x", (4, 4))
    y = g.gemm(a, (4, 4))
    model = g.model({"x": [2, 4]}, [y])
    table = Table()
    costs, atlas = costs_of(model, table)
    costs.keep(atlas.affine[a], form_of(atlas, "x", a))
    costs.single(form_of(atlas, "x", y), y)
    kinds = {made.graph.input[0].type.tensor_type.elem_type for made in table.models.values()}
    assert len(table.models) == 2
    assert kinds == {model.graph.input[0].type.tensor_type.elem_type}


def test_symbolic_sizes_are_those_of_the_run() -> None:
    model, a, _ = two_convs(dims=("N", 4, "H", "W"))
    table = Table()
    costs, atlas = costs_of(model, table, N=3, H=10, W=11)
    costs.keep(atlas.affine[a], form_of(atlas, "x", a))
    (made,) = table.models.values()
    assert [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim] == [3, 4, 10, 11]


# Keys: distinct for whatever changes the time, equal for whatever does not.


def conv_form(**at: Any) -> list[Any]:
    """Signature of a convolution of x."""
    g = builder()
    dims = at.pop("dims", (1, 4, 8, 8))
    channels, kernel = at.pop("channels", (4, 4)), at.pop("kernel", (3, 3))
    y = g.conv("x", channels, kernel, **at)
    atlas = chart(view_from_model(ir.from_proto(g.model({"x": dims}, [y]))), {})
    return form_signature(form_of(atlas, "x", y))


def test_forms_of_different_times_have_different_keys() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"bias": False},
        {"channels": (4, 8)},
        {"kernel": (1, 3)},
        {"strides": [2, 1]},
        {"dilations": [2, 2]},
        {"pads": 1},
        {"pads": [1, 0, 1, 0]},
        {"group": 2},
        {"group": 4},
        {"dims": ("N", 4, "H", "W")},
    ]
    keys = [json.dumps(conv_form(**change)) for change in changes]
    assert len({*keys}) == len(changes)
    assert conv_form() == conv_form()


def line(scale: float, offset: float, axis: int | None = 1, dims: tuple[int | str, ...] = (2, 4)) -> list[Any]:
    core = PerChannel(axis, np.full(4, scale), np.full(4, offset))
    return form_signature(Form(dims, core, dims, ((0,), (1,))))


def test_lines_of_different_times_have_different_keys() -> None:
    keys = [line(2, 0), line(1, 2), line(2, 2), line(2, 2, 0), line(0, 2), line(2, 2, dims=("N", 4))]
    assert len({json.dumps(key) for key in keys}) == len(keys)
    assert line(2, 3) == line(5, 7)


def test_views_and_borders_have_keys_of_their_own() -> None:
    weight, ones, zeros = np.ones((4, 4, 3, 3)), (1, 1), (0, 0)
    plain = Conv(weight, np.ones(4), ones, ones, ones, ones)
    bordered = Conv(weight, np.ones(4), ones, ones, ones, ones, border=np.ones((4, 3, 3)))
    shape, view = (1, 4, 8, 8), ((0,), (1,), (2,), (3,))
    turned = ((0,), (2,), (3,), (1,))
    forms = [Form(shape, core, shape, v) for core in (plain, bordered) for v in (view, turned)]
    assert len({json.dumps(form_signature(form)) for form in forms}) == 4
    assert zeros != ones


def signature(model: onnx.ModelProto, at: int = -1, **dims: int) -> str:
    return json.dumps(op_signature(view_from_model(ir.from_proto(model)).ops[at], dims))


def operator(op_type: str, weight: Any = None, dims: Dims = (2, 4), **kinds: Any) -> onnx.ModelProto:
    g = builder(**{key: kinds.pop(key) for key in ("dtype", "opset") if key in kinds})
    inputs = [] if weight is None else [g.constant(weight)]
    return g.model({"x": dims}, [g.node(op_type, "x", *inputs, **kinds)])


def test_operators_of_different_times_have_different_keys() -> None:
    ones = np.ones((4, 4), np.float32)
    models = [
        operator("MatMul", ones),
        operator("MatMul", np.ones((4, 5), np.float32)),
        operator("Gemm", ones),
        operator("Gemm", ones, transB=1),
        operator("Gemm", ones, opset=11),
        operator("MatMul", ones, dims=(3, 4)),
        operator("MatMul", ones.astype(np.float16), dtype="float16"),
        operator("Reshape", np.array([4, 2])),
        operator("Reshape", np.array([8, 1])),
    ]
    assert len({signature(model) for model in models}) == len(models)


def test_operators_of_equal_times_have_equal_keys() -> None:
    ones = np.ones((4, 4), np.float32)
    assert signature(operator("MatMul", ones)) == signature(operator("MatMul", 2 * ones))
    assert signature(operator("MatMul", ones, dims=("N", 4)), N=2) == signature(operator("MatMul", ones))


def test_random_input_is_the_same_each_time() -> None:
    for dtype, kind in (("float", np.float32), ("float16", np.float16), ("double", np.float64)):
        first = random_input((2, 3), dtype)
        assert first.dtype == kind
        np.testing.assert_array_equal(first, random_input((2, 3), dtype))
