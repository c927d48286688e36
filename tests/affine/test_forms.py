"""Forms against numpy: random programs of steps, each value evaluated through its form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_nepenthe.affine import forms
from onnx_nepenthe.affine.cost import concrete, form_cost, result_shape
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel, SpatialMean, evaluate, identity, per_channel, uniform
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Dim, Shape


def value_of(form: Form, x: np.ndarray) -> np.ndarray:
    """The form applied to `x`, with every stated size checked."""
    y = evaluate(form.core, x)
    assert y.ndim == len(form.shape)
    for size, actual in zip(form.shape, y.shape, strict=True):
        assert size == actual or not isinstance(size, int)
    order = [axis for group in form.view for axis in group]
    rest = [axis for axis in range(y.ndim) if axis not in order]
    assert all(y.shape[axis] == 1 for axis in rest)
    return y.transpose(order + rest).reshape([prod(y.shape[axis] for axis in group) for group in form.view])


@dataclass
class Value:
    form: Form
    array: np.ndarray


def random_numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    return values if rng.random() < 0.7 else values * rng.integers(0, 2, shape)


def random_line(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray]:
    y = value.array
    if rng.random() < 0.25 or not y.ndim:
        return forms.apply(value.form, uniform(-2.0, 0.5)), -2.0 * y + 0.5
    axis = int(rng.integers(y.ndim))
    step = per_channel(axis, random_numbers(rng, y.shape[axis]), random_numbers(rng, y.shape[axis]))
    return forms.apply(value.form, step), evaluate(step, y)


def random_dense(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray] | None:
    y = value.array
    if not y.ndim:
        return None
    axis = int(rng.integers(y.ndim))
    out = int(rng.choice([1, 2, 3, y.shape[axis]]))
    if y.shape[axis] > 64:
        return None
    step = Dense(axis, random_numbers(rng, out, y.shape[axis]), random_numbers(rng, out))
    return forms.apply(value.form, step), evaluate(step, y)


def random_conv(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray] | None:
    y = value.array
    if y.ndim < 3 or y.ndim > 5 or y.shape[1] > 8:
        return None
    spatial = y.ndim - 2
    pads = [tuple(int(n) for n in rng.integers(0, 2, spatial)) for _ in range(2)]
    kernel = tuple(int(rng.integers(1, min(3, n + b + e) + 1)) for n, b, e in zip(y.shape[2:], *pads, strict=True))
    strides = tuple(int(n) for n in rng.integers(1, 3, spatial))
    groups = int(rng.choice([1, y.shape[1]]))
    out = groups * int(rng.integers(1, 3))
    weight = random_numbers(rng, out, y.shape[1] // groups, *kernel)
    step = Conv(weight, random_numbers(rng, out), strides, (1,) * spatial, *pads, groups)
    return forms.apply(value.form, step), evaluate(step, y)


def random_mean(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray] | None:
    y = value.array
    if y.ndim < 3:
        return None
    axes = tuple(range(2, y.ndim)) if rng.random() < 0.7 else tuple(range(1, y.ndim - 1))
    keepdims = bool(rng.integers(2))
    return forms.mean(value.form, axes, keepdims), y.mean(axis=axes, keepdims=keepdims)


def random_transpose(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray]:
    perm = [int(axis) for axis in rng.permutation(value.array.ndim)]
    if rng.random() < 0.5 and value.array.ndim == 4:
        perm = [0, 2, 3, 1] if rng.random() < 0.5 else [0, 3, 1, 2]
    return forms.transpose(value.form, perm), value.array.transpose(perm)


def random_reshape(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray]:
    y = value.array
    if rng.random() < 0.5 and y.ndim:
        at = int(rng.integers(1, y.ndim + 1))
        target = [prod(y.shape[:at]), -1] if rng.random() < 0.5 else [-1, prod(y.shape[at:])]
    else:
        target = list(y.shape)
        target.insert(int(rng.integers(y.ndim + 1)), 1)
    return forms.reshape(value.form, target), y.reshape(target)


def random_total(rng: np.random.Generator, value: Value, other: Value) -> tuple[Form | Refused, np.ndarray] | None:
    if value.array.ndim != other.array.ndim:
        return None
    merged = forms.total([value.form, other.form])
    if value.array.shape != other.array.shape:
        assert isinstance(merged, Refused), "a broadcast sum was merged"
        return None
    return merged, value.array + other.array


def random_stack(rng: np.random.Generator, value: Value, other: Value) -> tuple[Form | Refused, np.ndarray] | None:
    one, two = value.array, other.array
    if one.ndim != two.ndim or not one.ndim:
        return None
    axis = int(rng.integers(one.ndim))
    if any(a != b for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if i != axis):
        return None
    return forms.stack([value.form, other.form], axis), np.concatenate([one, two], axis)


def random_select(rng: np.random.Generator, value: Value) -> tuple[Form | Refused, np.ndarray] | None:
    y = value.array
    if not y.ndim:
        return None
    axis = int(rng.integers(y.ndim))
    start = int(rng.integers(y.shape[axis]))
    stop = int(rng.integers(start + 1, y.shape[axis] + 1))
    return forms.select(value.form, axis, start, stop), np.take(y, range(start, stop), axis)


UNARY = (random_line, random_dense, random_conv, random_conv, random_mean, random_transpose, random_reshape)
STEPS = (*UNARY, random_reshape, random_total, random_total, random_stack, random_select)


def random_program(seed: int) -> Counter[str]:
    """Run a random program and check every form; how often each step was not refused."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 3, 4, 4, 4, 5]))
    actual = tuple(int(n) for n in rng.integers(1, 6 if rank < 5 else 4, rank))
    stated: Shape = tuple(
        f"d{axis}" if (axis != 1 or rng.random() < 0.1) and rng.random() < 0.35 else size
        for axis, size in enumerate(actual)
    )
    x = rng.standard_normal(actual)
    values = [Value(forms.source_form(stated), x)]
    done: Counter[str] = Counter()
    for _ in range(int(rng.integers(2, 9))):
        step = STEPS[int(rng.integers(len(STEPS)))]
        recent = values[max(0, len(values) - 3) :]
        picked = [recent[int(rng.integers(len(recent)))] for _ in range(2)]
        made = step(rng, *picked) if step in (random_total, random_stack) else step(rng, picked[0])
        if made is None or isinstance(made[0], Refused) or made[1].size > 5000:
            continue
        form, array = made
        got = value_of(form, x)
        assert got.shape == array.shape, step.__name__
        np.testing.assert_allclose(got, array, rtol=1e-9, atol=1e-9 * (1 + np.abs(array).max(initial=0.0)))
        for size, n in zip(form.value_shape, array.shape, strict=True):
            assert size == n or (not isinstance(size, int) and (size is None or actual[int(size[1:])] == n))
        dims = {f"d{axis}": size for axis, size in enumerate(actual)}
        assert result_shape(form, concrete(stated, dims)) == evaluate(form.core, x).shape
        assert min(form_cost(form, dims).macs, form_cost(form, dims).elements, form_cost(form, dims).nodes) >= 0
        assert forms.is_finite(form)
        values.append(Value(form, array))
        done[step.__name__] += 1
    return done


@settings(max_examples=800)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_random_program_is_what_numpy_computes(seed: int) -> None:
    random_program(seed)


def test_random_programs_reach_every_step() -> None:
    done: Counter[str] = Counter()
    for seed in range(400):
        done += random_program(seed)
    assert set(done) == {step.__name__ for step in STEPS}
    assert min(done.values()) > 20, done


RNG = np.random.default_rng(3)


def conv_step(out: int, channels: int, k: int, pad: int = 0) -> Conv:
    return Conv(RNG.standard_normal((out, channels, k, k)), RNG.standard_normal(out), (1, 1), (1, 1), (pad,) * 2,
                (pad,) * 2)  # fmt: skip


def taken(form: Form | Refused) -> Form:
    assert not isinstance(form, Refused), form
    return form


def flat_form(shape: Shape, *steps: PerChannel | Dense | Conv) -> Form:
    form = forms.source_form(shape)
    for step in steps:
        form = taken(forms.apply(form, step))
    return taken(forms.reshape(form, [form.shape[0], -1]))


@pytest.mark.parametrize("pad", [0, 1])
def test_flatten_and_dense_after_a_convolution_is_one_convolution_over_everything(pad: int) -> None:
    step = conv_step(3, 2, 3, pad)
    form = flat_form(("N", 2, 5, 4), step)
    size = 3 * (5, 3)[1 - pad] * (4, 2)[1 - pad]
    dense = Dense(1, RNG.standard_normal((7, size)), RNG.standard_normal(7))
    merged = taken(forms.apply(form, dense))
    assert isinstance(merged.core, Conv)
    assert merged.core.kernel == (5, 4)
    assert not merged.core.is_padded
    x = RNG.standard_normal((3, 2, 5, 4))
    wanted = evaluate(dense, evaluate(step, x).reshape(3, -1))
    np.testing.assert_allclose(value_of(merged, x), wanted, rtol=1e-9, atol=1e-9)


def test_a_flattened_border_becomes_a_plain_bias() -> None:
    """Normalisation, padded convolution, flatten, matrix: taps that only ever see padding leave with their border."""
    line = per_channel(1, RNG.standard_normal(2), RNG.standard_normal(2))
    for stride in (1, 2):
        step = conv_step(3, 2, 3, 1)
        step = Conv(step.weight, step.bias, (stride,) * 2, (1, 1), (1, 1), (1, 1))
        x = RNG.standard_normal((3, 2, 5, 4))
        wanted = evaluate(step, evaluate(line, x)).reshape(3, -1)
        dense = Dense(1, RNG.standard_normal((7, wanted.shape[1])), RNG.standard_normal(7))
        merged = taken(forms.apply(flat_form(("N", 2, 5, 4), line, step), dense))
        assert isinstance(merged.core, Conv)
        assert merged.core.border is None
        assert merged.core.kernel == (5, 4)
        np.testing.assert_allclose(value_of(merged, x), evaluate(dense, wanted), rtol=1e-9, atol=1e-9)


def test_dense_after_flattened_mean_stays_behind_the_mean() -> None:
    form = taken(forms.mean(forms.source_form(("N", 6, "H", "W")), (2, 3), True))
    form = taken(forms.reshape(form, ["N", -1]))
    merged = taken(forms.apply(form, Dense(1, RNG.standard_normal((4, 6)), RNG.standard_normal(4))))
    assert isinstance(merged.core, SpatialMean)
    assert merged.value_shape == ("N", 4)


def test_channels_last_detours_disappear() -> None:
    form = forms.transpose(forms.source_form(("N", 3, "H", "W")), (0, 2, 3, 1))
    form = taken(forms.apply(form, Dense(3, RNG.standard_normal((5, 3)), RNG.standard_normal(5))))
    form = forms.transpose(form, (0, 3, 1, 2))
    assert form.is_straight
    assert isinstance(form.core, Dense)
    assert form.core.axis == 1
    assert form.shape == ("N", 5, "H", "W")


def source(*shape: Dim) -> Form:
    return forms.source_form(shape)


def stepped(form: Form, step: PerChannel | Dense | Conv) -> Form:
    return taken(forms.apply(form, step))


REFUSALS: dict[str, tuple[Form | Refused, str]] = {
    "conv after transpose": (
        forms.apply(forms.transpose(source(1, 2, 3, 3), (0, 1, 3, 2)), conv_step(2, 2, 1)),
        "after a reshape or transpose",
    ),
    "too many axes": (forms.apply(source(2, 3), per_channel(2, [1.0, 2.0], 0.0)), "more axes than the value"),
    "merged constant": (forms.apply(flat_form((1, 2, 3)), per_channel(1, np.arange(6.0), 0.0)), "over merged axes"),
    "dense over batch": (
        forms.apply(taken(forms.reshape(source(2, 3, 4), [6, 4])), Dense(0, np.ones((1, 6)), np.ones(1))),
        "not channels and space",
    ),
    "dense over NHWC": (
        forms.apply(
            taken(forms.reshape(forms.transpose(source(1, 2, 3, 4), (0, 2, 3, 1)), [1, 24])),
            Dense(1, np.ones((1, 24)), np.ones(1)),
        ),
        "not channels and space",
    ),
    "dense over unknown sizes": (
        forms.apply(taken(forms.reshape(source("N", 2, "H"), ["N", -1])), Dense(1, np.ones((1, 24)), np.ones(1))),
        "of unknown size",
    ),
    "mean over channels": (forms.mean(source(1, 2, 3), (1,), True), "not exactly the spatial ones"),
    "mean over some": (forms.mean(source(1, 2, 3, 4), (3,), True), "not exactly the spatial ones"),
    "mean without space": (forms.mean(source(1, 2), (1,), True), "not exactly the spatial ones"),
    "sum of views": (
        forms.total([source(2, 2, 2), forms.transpose(source(2, 2, 2), (0, 2, 1))]),
        "summands are reshaped differently",
    ),
    "stack of views": (
        forms.stack([source(2, 2, 2), forms.transpose(source(2, 2, 2), (0, 2, 1))], 1),
        "reshaped differently",
    ),
    "stack along merged": (forms.stack([flat_form((1, 2, 3))] * 2, 1), "along merged axes"),
    "stack along space": (forms.stack([stepped(source(1, 2, 5, 5), conv_step(2, 2, 3))] * 2, 2), "different axes"),
    "stack of unknown channels": (forms.stack([source(1, "C", 3)] * 2, 1), "channels is not known"),
    "slice of merged": (forms.select(flat_form((1, 2, 3)), 1, 0, 2), "slice of merged axes"),
    "slice of unknown channels": (forms.select(source(1, "C"), 1, 0, 2), "channels is not known"),
    "slice of space": (forms.select(stepped(source(1, 2, 5, 5), conv_step(2, 2, 3)), 2, 0, 2), "different axes"),
    "slice after mean": (
        forms.select(taken(forms.mean(source(1, 2, 5), (2,), True)), 2, 0, 1),
        "different axes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_why(name: str) -> None:
    refused, reason = REFUSALS[name]
    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_copies_of_one_value_can_be_stacked() -> None:
    merged = taken(forms.stack([source("N", 3), stepped(source("N", 3), uniform(-1.0, 0.0))], 1))
    x = RNG.standard_normal((2, 3))
    assert merged.shape == ("N", 6)
    np.testing.assert_allclose(value_of(merged, x), np.concatenate([x, -x], 1))


def test_symbols_survive_where_the_size_does() -> None:
    form = stepped(source("N", 2, "H", "W"), conv_step(4, 2, 3, pad=1))
    assert form.shape == ("N", 4, "H", "W")
    grown = stepped(source("N", 2, "H", 7), conv_step(4, 2, 3))
    assert grown.shape == ("N", 4, None, 5)


@pytest.mark.parametrize(
    "core",
    [
        per_channel(1, [np.inf, 1.0], 0.0),
        per_channel(1, [1.0, 1.0], [np.nan, 0.0]),
        Dense(1, np.full((2, 2), np.nan), np.zeros(2)),
        SpatialMean(per_channel(1, [np.inf, 1.0], 0.0)),
        Conv(np.full((1, 2, 1), np.inf), np.zeros(1), (1,), (1,), (0,), (0,)),
        Conv(np.ones((1, 2, 1)), np.zeros(1), (1,), (1,), (0,), (0,), 1, np.full((1, 1), np.nan)),
    ],
)
def test_numbers_that_are_not_finite_are_noticed(core: PerChannel | Dense | Conv | SpatialMean) -> None:
    shape: Shape = (1, 2, 3)
    assert not forms.is_finite(Form(shape, core, shape, ((0,), (1,), (2,))))
    assert forms.is_finite(Form(shape, identity(), shape, ((0,), (1,), (2,))))
