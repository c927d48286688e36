"""Verification end to end on small models: right folds pass, wrong ones fail, and the verdict says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.errors import UnreadableError, UnsupportedError
from onnx_nepenthe.verify import Verdict, run, verify

TYPES = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
Array = np.ndarray


@dataclass(frozen=True)
class Batch:
    feeds: dict[str, Array]
    labels: Array | None = None
    size: int = field(default=0)
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.size:
            object.__setattr__(self, "size", len(next(iter(self.feeds.values()))))


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Array] | None = None,
    *,
    shape: Sequence[int | str] = ("n", 3),
    out: Sequence[int | str] | None = ("n", 3),
    dtype: int = TensorProto.FLOAT,
    out_dtype: int | None = None,
    names: tuple[str, str] = ("x", "y"),
    domain: str = "",
) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(names[0], dtype, shape)],
        [helper.make_tensor_value_info(names[1], out_dtype or dtype, out)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def one(op_type: str, out_dtype: int | None = None, **options: object) -> ir.Model:
    return model([helper.make_node(op_type, ["x"], ["y"], **options)], out_dtype=out_dtype)


def rows(*values: float) -> Batch:
    return Batch({"x": np.array([[value] * 3 for value in values], np.float32)})


def two_convs(dtype: str, pad: int, bias: bool) -> tuple[ir.Model, ir.Model]:
    """1x1 then 3x3, and the 3x3 they compose into with a scalar bias: right unless a bias meets padding."""
    rng = np.random.default_rng(5)
    first, second = rng.standard_normal((8, 4, 1, 1)), rng.standard_normal((6, 8, 3, 3))
    b1, b2 = rng.standard_normal(8) * bias, rng.standard_normal(6)
    merged = np.einsum("omhw,mi->oihw", second, first[:, :, 0, 0])
    b = b2 + np.einsum("omhw,m->o", second, b1)
    options = {"shape": ("n", 4, 9, 9), "out": ("n", 6, "h", "w"), "dtype": TYPES[dtype]}
    pads = [pad] * 4
    before = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["t"]),
        helper.make_node("Conv", ["t", "w2", "b2"], ["y"], pads=pads),
    ]
    after = [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=pads)]
    cast = {"w1": first, "b1": b1, "w2": second, "b2": b2}
    return (
        model(before, {name: value.astype(dtype) for name, value in cast.items()}, **options),
        model(after, {"w": merged.astype(dtype), "b": b.astype(dtype)}, **options),
    )


def images(dtype: str, count: int = 5) -> list[Batch]:
    rng = np.random.default_rng(1)
    return [Batch({"x": rng.standard_normal((size, 4, 9, 9)).astype(dtype)}) for size in (count, 2)]


def modes(dtype: str) -> list[str]:
    """onnxruntime has no Conv of doubles on CPU."""
    return ["onnx.reference"] if dtype == "float64" else ["optimiser off", "optimiser on"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("pad", "bias"), [(0, True), (1, False)])
def test_a_right_composition_passes(dtype: str, pad: int, bias: bool) -> None:
    found = verify(*two_convs(dtype, pad, bias), images(dtype), depth=2)
    assert found.passed, found.reason
    assert found.samples == 7
    assert 0 < found.max_abs_error < 0.5 * found.tolerance
    assert found.mean_abs_error < found.max_abs_error
    assert [row.mode for row in found.outputs] == modes(dtype)
    assert found.agreement is None


@pytest.mark.parametrize("dtype", TYPES)
def test_a_wrong_border_fails(dtype: str) -> None:
    found = verify(*two_convs(dtype, 1, True), images(dtype), depth=50)
    assert not found.passed
    assert found.max_abs_error > found.tolerance
    assert found.failing_output == "y"
    assert found.failing_sample in range(7)
    assert f"output y ({modes(dtype)[0]}): error" in found.reason
    assert f"sample {found.failing_sample}" in found.reason


@pytest.mark.parametrize("dtype", TYPES)
def test_composed_products_pass_in_onnxruntime(dtype: str) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((3, 500)), rng.standard_normal((500, 3))
    nodes = [helper.make_node("MatMul", ["x", "a"], ["t"]), helper.make_node("MatMul", ["t", "b"], ["y"])]
    before = model(nodes, {"a": first.astype(dtype), "b": second.astype(dtype)}, dtype=TYPES[dtype])
    product = {"w": (first @ second).astype(dtype)}
    after = model([helper.make_node("MatMul", ["x", "w"], ["y"])], product, dtype=TYPES[dtype])
    found = verify(before, after, [Batch({"x": rng.standard_normal((40, 3)).astype(dtype)})], depth=2)
    assert found.passed, found.reason
    assert found.engine == "onnxruntime (cpu)"


def test_one_in_a_thousand_fails() -> None:
    before = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(3, dtype=np.float32)})
    after = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(3, dtype=np.float32) * 1.001})
    found = verify(before, after, [rows(1.0, -2.0)], depth=200)
    assert not found.passed
    assert found.failing_sample == 1


def test_nan_in_both_is_equal_and_in_one_is_not() -> None:
    data = [rows(1.0, 2.0), rows(3.0, -1.0)]
    assert verify(one("Log"), one("Log"), data, depth=1).passed
    found = verify(one("Relu"), one("Sqrt"), [rows(0.0, 1.0), rows(1.0, -1.0)], depth=1)
    assert not found.passed
    assert found.failing_sample == 3
    assert "3 of 12 values that must be equal" in found.reason


def test_infinity_in_both_is_equal() -> None:
    assert verify(one("Reciprocal"), one("Reciprocal"), [rows(0.0)], depth=1).passed


def classifier(weights: Array) -> ir.Model:
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weights.astype(np.float32)})


def test_labels_give_top_1_and_agreement() -> None:
    swapped = np.eye(3)[[1, 0, 2]]
    data = [Batch({"x": np.eye(3, dtype=np.float32)[[0, 1]]}, np.array([0, 0]))]
    data.append(Batch({"x": np.eye(3, dtype=np.float32)[[2, 2]]}, np.array([2, 1])))
    found = verify(classifier(np.eye(3)), classifier(swapped), data, depth=1)
    assert not found.passed
    assert (found.agreement, found.top1_before, found.top1_after) == (0.5, 0.5, 0.5)
    same = verify(classifier(np.eye(3)), classifier(np.eye(3)), data, depth=1, source="digits.npz", disjoint=True)
    assert same.passed
    assert (same.agreement, same.top1_before, same.top1_after) == (1.0, 0.5, 0.5)
    assert (same.source, same.disjoint) == ("digits.npz", True)


def test_without_labels_there_is_agreement_only() -> None:
    found = verify(classifier(np.eye(3)), classifier(np.eye(3)), [rows(1.0)], depth=1)
    assert (found.agreement, found.top1_before, found.top1_after) == (1.0, None, None)


def test_class_scores_may_carry_axes_of_size_one() -> None:
    pool = model([helper.make_node("GlobalAveragePool", ["x"], ["y"])], shape=("n", 3, 4, 4), out=("n", 3, 1, 1))
    data = [Batch({"x": np.random.default_rng(0).standard_normal((4, 3, 4, 4)).astype(np.float32)})]
    assert verify(pool, pool, data, depth=1).agreement == 1.0


def test_padding_counts_for_nothing() -> None:
    fixed = {"shape": (4, 3), "out": (4, 3)}
    relu, identity = (model([helper.make_node(op, ["x"], ["y"])], **fixed) for op in ("Relu", "Identity"))
    feeds = {"x": np.array([[1.0] * 3, [2.0] * 3, [-5.0] * 3, [-5.0] * 3], np.float32)}
    padded = Batch(feeds, np.zeros(4, np.int64), size=2)
    found = verify(relu, identity, [padded], depth=1)
    assert found.passed
    assert (found.samples, found.agreement) == (2, 1.0)
    assert not verify(relu, identity, [Batch(feeds, size=4)], depth=1).passed
    assert not verify(relu, identity, [Batch(feeds, size=1, whole=True)], depth=1).passed


def test_integers_must_be_equal() -> None:
    floor, whole = one("Cast", TensorProto.INT64, to=TensorProto.INT64), one("Cast", TensorProto.INT64, to=7)
    assert verify(floor, whole, [rows(1.2, 3.9)], depth=1).passed
    nodes = [helper.make_node("Ceil", ["x"], ["c"]), helper.make_node("Cast", ["c"], ["y"], to=7)]
    found = verify(floor, model(nodes, out_dtype=TensorProto.INT64), [rows(1.0, 3.9)], depth=1)
    assert (found.passed, found.failing_sample) == (False, 1)


def test_strings_must_be_equal() -> None:
    text = one("Cast", TensorProto.STRING, to=TensorProto.STRING)
    assert verify(text, text, [rows(1.0)], depth=1).passed
    nodes = [helper.make_node("Neg", ["x"], ["c"]), helper.make_node("Cast", ["c"], ["y"], to=TensorProto.STRING)]
    assert not verify(text, model(nodes, out_dtype=TensorProto.STRING), [rows(1.0)], depth=1).passed


@pytest.mark.parametrize(
    ("after", "difference"),
    [
        (lambda: model([helper.make_node("Relu", ["x"], ["z"])], names=("x", "z")), "outputs z instead of y"),
        (lambda: model([helper.make_node("Relu", ["a"], ["y"])], names=("a", "y")), "inputs a instead of x"),
        (
            lambda: model([helper.make_node("Relu", ["x"], ["y"])], dtype=TensorProto.DOUBLE),
            "input x has type double instead of float",
        ),
        (
            lambda: model([helper.make_node("Relu", ["x"], ["y"])], shape=("n", 4), out=("n", 4)),
            "input x has shape ('n', 4) instead of ('n', 3)",
        ),
    ],
    ids=["output name", "input name", "type", "shape"],
)
def test_a_changed_interface_fails(after: object, difference: str) -> None:
    found = verify(one("Relu"), after(), [rows(1.0)], depth=1)
    assert not found.passed
    assert difference in found.interface
    assert found.reason == f"inputs or outputs changed: {difference}"


def test_names_of_symbolic_sizes_are_no_difference() -> None:
    other = model([helper.make_node("Relu", ["x"], ["y"])], shape=("batch", 3), out=("batch", 3))
    assert verify(one("Relu"), other, [rows(1.0)], depth=1).passed


def test_outputs_of_another_shape_fail_with_both_shapes() -> None:
    before = model([helper.make_node("Identity", ["x"], ["y"])], out=("a", "b"))
    after = model([helper.make_node("Transpose", ["x"], ["y"])], out=("a", "b"))
    found = verify(before, after, [rows(1.0, 2.0), rows(1.0)], depth=1)
    assert not found.passed
    assert "its shape is (3, 2), not (2, 3)" in found.reason
    assert found.samples == 2


def test_no_data_is_no_verification() -> None:
    found = verify(one("Relu"), one("Relu"), [], depth=1, source="empty.npz")
    assert not found.passed
    assert found.reason == "there are no data to verify on in empty.npz"


def unknown() -> ir.Model:
    return model([helper.make_node("Mystery", ["x"], ["y"], domain="com.acme")], domain="com.acme")


def test_a_result_that_cannot_run_fails() -> None:
    found = verify(one("Relu"), unknown(), [rows(1.0)], depth=1)
    assert not found.passed
    assert "the input model runs and the result does not" in found.reason
    assert "Mystery" in found.reason


def test_a_result_that_stops_on_the_data_fails() -> None:
    target = {"s": np.array([1, 3], np.int64)}
    after = model([helper.make_node("Reshape", ["x", "s"], ["y"])], target)
    found = verify(one("Identity"), after, [rows(1.0), rows(1.0, 2.0)], depth=1)
    assert not found.passed
    assert "the result (optimiser off) does not" in found.reason


def test_a_model_nothing_can_run_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="nothing here can run the model"):
        verify(unknown(), unknown(), [rows(1.0)], depth=1)


def test_data_that_do_not_fit_are_the_users_to_mend() -> None:
    with pytest.raises(UnsupportedError):
        verify(one("Relu"), one("Relu"), [Batch({"x": np.zeros((1, 7), np.float32)})], depth=1)


def bfloat16(op_type: str) -> ir.Model:
    """An operator that onnxruntime has no bfloat16 kernel for on CPU, between two Casts."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.BFLOAT16),
        helper.make_node(op_type, ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    return model(nodes)


def test_what_onnxruntime_cannot_run_is_verified_by_the_reference() -> None:
    found = verify(bfloat16("Softplus"), bfloat16("Softplus"), [rows(0.5, -1.0)], depth=1)
    assert found.passed, found.reason
    assert found.engine.startswith("onnx.reference, as onnxruntime")
    assert [row.mode for row in found.outputs] == ["onnx.reference"]
    assert found.tolerance > 1e-3
    assert not verify(bfloat16("Softplus"), bfloat16("Softsign"), [rows(0.5, -1.0)], depth=1).passed
    lost = verify(bfloat16("Softplus"), unknown(), [rows(0.5)], depth=1)
    assert "the input model runs and the result does not" in lost.reason


def test_paths_are_read_and_unreadable_ones_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    ir.save(one("Relu"), good)
    bad.write_bytes(b"no model")
    assert verify(good, str(good), [rows(1.0)], depth=1).passed
    with pytest.raises(UnreadableError, match=r"bad\.onnx"):
        verify(bad, good, [rows(1.0)], depth=1)


def test_an_error_that_only_the_optimiser_makes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    opener = run.open_session

    def broken_optimiser(source: object, config: object) -> object:
        return opener(one("Neg") if config.optimise else source, config)

    monkeypatch.setattr(run, "open_session", broken_optimiser)
    found = verify(one("Relu"), one("Relu"), [rows(1.0)], depth=1)
    assert not found.passed
    assert found.reason.startswith("output y (optimiser on): error")
    assert [row.passed for row in found.outputs] == [True, False]


def test_quantised_models_are_compared_optimised_with_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    opener = run.open_session

    def integer_kernels(source: object, config: object) -> object:
        return opener(one("Neg") if config.optimise else source, config)

    monkeypatch.setattr(run, "open_session", integer_kernels)
    monkeypatch.setattr(run, "coarsest_precision", lambda model: "int8")
    assert verify(one("Relu"), one("Relu"), [rows(1.0)], depth=1).passed
    assert not verify(one("Relu"), one("Abs"), [rows(-1.0)], depth=1).passed


def test_the_verdict_does_not_depend_on_the_batches() -> None:
    values = [float(value) for value in range(-6, 6)]
    found: list[Verdict] = []
    for size in (1, 5, 12):
        batches = [rows(*values[start : start + size]) for start in range(0, 12, size)]
        found.append(verify(one("Tanh"), one("Softsign"), batches, depth=1))
    assert len({(v.max_abs_error, v.tolerance, v.samples, v.failing_sample, v.agreement) for v in found}) == 1
