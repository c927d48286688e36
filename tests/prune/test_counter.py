"""The kernel on the device against a count in numpy, element by element."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from onnx_nepenthe.activations import Activation  # noqa: E402
from onnx_nepenthe.errors import UnsupportedError  # noqa: E402
from onnx_nepenthe.prune.calls import CALLS, activation_of  # noqa: E402
from onnx_nepenthe.prune.counter import Counter, knots_of  # noqa: E402
from onnx_nepenthe.prune.records import Site  # noqa: E402
from onnx_nepenthe.regimes import RegimeCounts  # noqa: E402
from tests.helpers.pruned import RELU, SMOOTH  # noqa: E402

C = 4
MODULES: dict[str, nn.Module] = {
    **{name: CALLS[name].module() for name in CALLS if name not in ("Clamp", "Threshold")},
    "Clamp": CALLS["Clamp"].module(-0.5, 0.1),
    "Threshold": nn.Threshold(0.3, 0.0),
    "PReLU of each channel": nn.PReLU(C, 0.1),
    "Hardtanh of bounds float32 cannot hold": nn.Hardtanh(-0.3, 0.7),
}
PER_CHANNEL = Activation((np.array([-1.0, 0.1, 0.0, 2.0]), np.array([0.0, 0.1, 0.3, 2.0])), ((0.0, 0.0),) * 3, axis=1)


def reference(z: np.ndarray, axis: int, knots: np.ndarray) -> RegimeCounts:
    """Regimes of z, float64, as `regimes` defines them."""
    flat = np.moveaxis(z, axis, 0).reshape(z.shape[axis], -1)
    inside, ties = np.zeros((len(knots) + 1, C), np.int64), np.zeros((len(knots), C), np.int64)
    low, high = np.full(C, -np.inf), np.full(C, np.inf)
    for channel, values in enumerate(flat):
        own, numbers = knots[:, channel], values[~np.isnan(values)]
        for piece in range(len(own) + 1):
            left, right = (own[piece - 1] if piece else None), (own[piece] if piece < len(own) else None)
            within = np.ones(len(numbers), bool) if left is None else numbers > left
            inside[piece, channel] = np.count_nonzero(within if right is None else within & (numbers < right))
        for at, knot in enumerate(own):
            ties[at, channel] = np.count_nonzero(numbers == knot) if knot not in own[:at] else 0
        if len(numbers) == len(values):
            low[channel], high[channel] = numbers.min(), numbers.max()
    return RegimeCounts(inside, ties, low, high, int(np.isnan(flat).sum()))


def same(one: RegimeCounts, other: RegimeCounts) -> None:
    for name in ("counts", "ties", "low", "high", "nonfinite"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def site(activation: Activation, axis: int = 1) -> Site:
    return Site("s", "the site", "Any", activation, axis, C)


def numbers(activation: Activation, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal numbers with every knot, its neighbours, both zeros and both infinities among them."""
    generator = torch.Generator().manual_seed(0)
    z = (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
    knots = torch.tensor(knots_of(activation, C).ravel(), dtype=torch.float64).to(dtype)
    far = torch.tensor([-torch.inf, torch.inf, 0.0, -0.0], dtype=dtype)
    special = torch.cat([knots, knots.nextafter(far[:1]), knots.nextafter(far[1:2]), far])
    places = torch.randperm(z.numel(), generator=generator)[: 5 * len(special)]
    z.view(-1)[places] = special.repeat(5)[: len(places)]
    return z


def counted(activation: Activation, z: torch.Tensor, axis: int = 1, **options: bool) -> Counter:
    counter = Counter(site(activation, axis), activation, **options)
    counter.add(z, z, len(z), [0] * len(z))
    return counter


def test_every_activation_of_torch_is_here() -> None:
    assert {type(module) for module in MODULES.values()} == {CALLS[name].module for name in CALLS}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_counts_are_those_of_numpy(name: str, dtype: torch.dtype) -> None:
    activation = activation_of(MODULES[name], (5, C, 6, 7))
    z = numbers(activation, (5, C, 6, 7), dtype)
    found = counted(activation, z, sums=False).result()
    same(found.counts, reference(z.double().numpy(), 1, knots_of(activation, C)))
    assert (found.counts.observations == 5 * 6 * 7).all()
    is_curved = any(line is None for line in activation.lines)
    assert (found.signs is not None) == is_curved
    if found.signs is not None:
        same(found.signs, reference(z.double().numpy(), 1, np.zeros((1, C))))
    assert found.sums is None


@pytest.mark.parametrize(
    ("shape", "axis"), [((C,), 0), ((9, C), 1), ((9, 5, C), 2), ((C, 9, 5), 0), ((3, 5, C, 6), 2), ((2, C, 3, 4, 5), 1)]
)
def test_channels_on_any_axis(shape: tuple[int, ...], axis: int) -> None:
    for activation in (RELU, SMOOTH, replace(PER_CHANNEL, axis=axis)):
        z = numbers(activation, shape, torch.float64)
        found = counted(activation, z, axis).result()
        same(found.counts, reference(z.numpy(), axis, knots_of(activation, C)))


def test_knots_of_each_channel_some_of_which_coincide() -> None:
    z = numbers(PER_CHANNEL, (5, C, 6, 7))
    found = counted(PER_CHANNEL, z).result().counts
    same(found, reference(z.double().numpy(), 1, knots_of(PER_CHANNEL, C)))
    assert found.ties[0, 3] > 0
    assert found.ties[1, 3] == 0


def test_an_activation_without_knots() -> None:
    found = counted(Activation((), ((1.0, 0.0),)), torch.ones(3, C)).result().counts
    assert found.counts.tolist() == [[3] * C]
    assert found.ties.shape == (0, C)


def test_nan_is_counted_and_its_channel_has_no_ends() -> None:
    z = numbers(RELU, (5, C, 6, 7))
    z[2, 1, 3] = torch.nan
    found = counted(RELU, z).result().counts
    same(found, reference(z.double().numpy(), 1, knots_of(RELU, C)))
    assert found.nonfinite == 7
    assert (found.low[1], found.high[1]) == (-np.inf, np.inf)


def test_batches_do_not_matter() -> None:
    z = numbers(SMOOTH, (11, C, 6, 7))
    whole, parts = counted(SMOOTH, z).result(), Counter(site(SMOOTH), SMOOTH)
    for part in z.split([1, 5, 0, 3, 2]):
        parts.add(part, part, len(part))
    found = parts.result()
    same(found.counts, whole.counts)
    assert (found.samples, whole.samples) == (11, 11)


def test_nothing_yet() -> None:
    found = Counter(site(SMOOTH), SMOOTH, by_class=True).result()
    same(found.counts, RegimeCounts.empty(3, C))
    assert found.signs is not None
    same(found.signs, RegimeCounts.empty(2, C))
    assert found.classes is not None
    assert found.classes.classes == ()
    assert found.sums is not None
    assert found.sums.line()[0].tolist() == [0] * C


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_sums_are_float64(dtype: torch.dtype) -> None:
    z = torch.randn(50, C, 8, generator=torch.Generator().manual_seed(1)).to(dtype) + 100
    y = torch.relu(z - 100)
    counter = Counter(site(RELU), RELU)
    for part, result in zip(z.split(20), y.split(20), strict=True):
        counter.add(part, result, len(part))
    found = counter.result().sums
    assert found is not None
    a, b = (values.double().numpy().transpose(1, 0, 2).reshape(C, -1) for values in (z, y))
    assert found.n.tolist() == [400] * C
    for name, expected in (("z", a), ("zz", a * a), ("y", b), ("yy", b * b), ("zy", a * b)):
        np.testing.assert_allclose(getattr(found, name), expected.sum(axis=1), rtol=1e-13)
    slopes = [np.polyfit(a[channel], b[channel], 1)[0] for channel in range(C)]
    np.testing.assert_allclose(found.line()[0], slopes, rtol=1e-6)


@pytest.mark.parametrize(("shape", "axis"), [((12, C, 5), 1), ((12, 5, C), 2), ((36, 5, C), 2)])
@pytest.mark.parametrize("activation", [RELU, SMOOTH], ids=["own regimes", "signs"])
def test_by_class(shape: tuple[int, ...], axis: int, activation: Activation) -> None:
    """Counts of a class are those of its samples alone, also where a sample takes several rows (windows)."""
    z, labels = numbers(activation, shape), np.array([7, 3, 3, 0] * 3)
    rows, counter = shape[0] // 12, Counter(site(activation, axis), activation, by_class=True)
    for start in (0, 4, 8):
        counter.add(z[start * rows : (start + 4) * rows], z[:1], 4, labels[start : start + 4].tolist())
    found = counter.result()
    assert found.classes is not None
    assert found.classes.classes == (0, 3, 7)
    knots = knots_of(RELU, C)
    for label in (0, 3, 7):
        own = z.double().numpy()[np.repeat(labels == label, rows)]
        expected, part = reference(own, axis, knots), found.classes.by_class[label]
        np.testing.assert_array_equal(part.counts, expected.counts)
        np.testing.assert_array_equal(part.ties, expected.ties)
    np.testing.assert_array_equal(found.classes.total().counts, found.states.counts)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 4, C), 2), ((2, 5, C), 2), ((C, 4), 0)],
    ids=["no multiple", "too few rows", "channels first"],
)
def test_samples_that_cannot_be_told_apart(shape: tuple[int, ...], axis: int) -> None:
    counter = Counter(site(RELU, axis), RELU, by_class=True)
    with pytest.raises(UnsupportedError, match=r"the site cannot be counted by class: its input of shape \("):
        counter.add(torch.zeros(shape), torch.zeros(shape), 4, [1] * 4)


def test_tokens_are_not_taken_for_samples() -> None:
    """A first axis of 8 tokens passes for 4 samples of 2 rows each, until a batch of 2 has 8 as well."""
    counter = Counter(site(RELU, 2), RELU, by_class=True)
    counter.add(torch.zeros(8, 4, C), torch.zeros(8, 4, C), 4, [1] * 4)
    with pytest.raises(UnsupportedError, match="does not have the 2 samples on its first axis"):
        counter.add(torch.zeros(8, 2, C), torch.zeros(8, 2, C), 2, [1] * 2)
