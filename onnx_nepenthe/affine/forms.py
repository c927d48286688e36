"""What a value is in terms of an earlier one: an affine map, then a view of its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_nepenthe.affine import combine, views
from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.convs import trimmed
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, PerChannel, SpatialMean, identity, pointwise_from
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.affine.windows import behind
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import Dim, Shape


@dataclass(frozen=True, eq=False)
class Form:
    """value = view(core(source)).

    Attributes:
        source: shape of the source.
        core: the map.
        shape: of the core's result.
        view: how the value's axes are made of the result's.
    """

    source: Shape
    core: AffineMap
    shape: Shape
    view: views.View

    @property
    def value_shape(self) -> Shape:
        """Shape of the value."""
        return views.value_shape(self.view, self.shape)

    @property
    def is_straight(self) -> bool:
        """Whether nothing but the core is needed."""
        return views.is_straight(self.view, len(self.shape))


def source_form(shape: Shape) -> Form:
    """The source in terms of itself."""
    return Form(shape, identity(), shape, views.straight(len(shape)))


def apply(form: Form, step: PerChannel | Dense | Conv | TransposedConv) -> Form | Refused:
    """The form of step(value); the step's axis counts the value's axes."""
    if isinstance(step, Conv | TransposedConv):
        if not form.is_straight:
            return Refused("a convolution after a reshape or transpose")
        return _with_core(form, step)
    if step.axis is None:
        return _with_core(form, step)
    if step.axis >= len(form.view):
        return Refused("the constant has more axes than the value")
    group = form.view[step.axis]
    if len(group) == 1:
        return _with_core(form, replace(step, axis=group[0]))
    if isinstance(step, Dense) and len(group) > 1:
        return _dense_over_positions(form, step, group)
    return Refused("a per-channel constant over merged axes")


def _with_core(form: Form, step: AffineMap) -> Form | Refused:
    core = compose(step, form.core)
    if isinstance(core, Refused):
        return core
    return replace(form, core=core, shape=shape_after(step, form.shape))


def shape_after(step: AffineMap, shape: Shape) -> Shape:
    """Shape of step(value) for a value of this shape."""
    match step:
        case PerChannel():
            return shape
        case Dense():
            return (*shape[: step.axis], len(step.bias), *shape[step.axis + 1 :])
        case SpatialMean():
            out: Dim = len(step.then.bias) if isinstance(step.then, Dense) else shape[1]
            return (shape[0], out, *(1,) * (len(shape) - 2))
        case Conv():
            sizes = zip(shape[2:], step.tails, step.strides, strict=True)
            return (shape[0], len(step.bias), *(_conv_size(n, t, s) for n, t, s in sizes))
        case TransposedConv():
            spread = zip(shape[2:], step.tails, step.strides, strict=True)
            return (
                shape[0],
                len(step.bias),
                *((n - 1) * s + 1 + t if isinstance(n, int) else None for n, t, s in spread),
            )


def _conv_size(size: Dim, tail: int, stride: int) -> Dim:
    if tail == 0 and stride == 1:
        return size
    return (size - 1 + tail) // stride + 1 if isinstance(size, int) else None


def _dense_over_positions(form: Form, step: Dense, group: tuple[int, ...]) -> Form | Refused:
    """Flatten then Gemm is a convolution whose kernel covers every position."""
    sizes = form.shape[1:]
    covered = {axis for axis in range(1, len(form.shape)) if form.shape[axis] != 1}
    if len(form.view) != 2 or form.view[0] != (0,) or not covered <= set(group) or list(group) != sorted(group):
        return Refused("a matrix product over merged axes that are not channels and space")
    if not all(isinstance(size, int) for size in sizes) or len(sizes) < 2:
        return Refused("a matrix product over merged axes of unknown size")
    kernel = tuple(int(size) for size in sizes[1:] if isinstance(size, int))
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    weight = step.weight.reshape(len(step.bias), *(int(size) for size in sizes if isinstance(size, int)))
    flat = _with_core(form, Conv(weight, step.bias, ones, ones, zeros, zeros))
    if isinstance(flat, Refused):
        return flat
    core = _without_padding(flat.core, form.source) if isinstance(flat.core, Conv) else flat.core
    return replace(flat, core=core, view=((0,), (1,)))


def _without_padding(m: Conv, source: Shape) -> Conv:
    """A convolution with a single output position, cut to the taps that see the input."""
    sizes = [size for size in source[2:] if isinstance(size, int)]
    if len(sizes) < m.spatial or any(d != 1 and k > 1 for d, k in zip(m.dilations, m.kernel, strict=True)):
        return m
    missing = [max(0, b + n - k) for b, n, k in zip(m.pads_begin, sizes, m.kernel, strict=True)]
    window = behind(slice(b, b + n) for b, n in zip(m.pads_begin, sizes, strict=True))
    bias = m.bias
    if m.border is not None:
        border = np.pad(m.border, [(0, 0), *((0, n) for n in missing)])
        bias = bias + border[window].reshape(len(bias), -1).sum(axis=1)
    weight = np.pad(m.weight, [(0, 0), (0, 0), *((0, n) for n in missing)])
    ones, zeros = (1,) * m.spatial, (0,) * m.spatial
    return Conv(weight[window], bias, ones, ones, zeros, zeros, m.groups)


def mean(form: Form, axes: Sequence[int], keepdims: bool) -> Form | Refused:
    """The form of the value's mean over `axes`, which must be all of the spatial ones."""
    groups = [form.view[axis] for axis in axes]
    spatial = {(axis,) for axis in range(2, len(form.shape))}
    if not spatial or set(groups) != spatial:
        return Refused("a mean over axes that are not exactly the spatial ones")
    after = _with_core(form, SpatialMean(identity()))
    if isinstance(after, Refused) or keepdims:
        return after
    return replace(after, view=tuple(g for i, g in enumerate(after.view) if i not in set(axes)))


def transpose(form: Form, perm: Sequence[int]) -> Form:
    """The form of the transposed value."""
    return replace(form, view=views.transposed(form.view, perm))


def reshape(form: Form, target: Sequence[Dim]) -> Form | Refused:
    """The form of the reshaped value; `target` as in `views.reshaped`."""
    view = views.reshaped(form.view, form.shape, target)
    return view if isinstance(view, Refused) else replace(form, view=view)


def total(forms: Sequence[Form]) -> Form | Refused:
    """The form of the sum of values that share the source."""
    first = forms[0]
    if any(form.view != first.view or len(form.shape) != len(first.shape) for form in forms):
        return Refused("the summands are reshaped differently")
    core = combine.add([form.core for form in forms], _channels(forms), _sizes(first.source))
    return core if isinstance(core, Refused) else replace(first, core=trim(core))


def stack(forms: Sequence[Form], axis: int) -> Form | Refused:
    """The form of the concatenation along the value's `axis` of values that share the source."""
    first = forms[0]
    if any(form.view != first.view for form in forms):
        return Refused("the concatenated values are reshaped differently")
    if len(first.view[axis]) != 1:
        return Refused("a concatenation along merged axes")
    (channel,) = first.view[axis]
    size = first.source[channel]
    known = size if isinstance(size, int) else None
    core = combine.stack([form.core for form in forms], channel, known, _sizes(first.source))
    if isinstance(core, Refused):
        return core
    sizes = [form.shape[channel] for form in forms]
    out: Dim = sum(n for n in sizes if isinstance(n, int)) if all(isinstance(n, int) for n in sizes) else None
    return replace(first, core=core, shape=(*first.shape[:channel], out, *first.shape[channel + 1 :]))


def select(form: Form, axis: int, start: int, stop: int) -> Form | Refused:
    """The form of the entries start … stop - 1 of the value along `axis`."""
    group = form.view[axis]
    if len(group) != 1:
        return Refused("a slice of merged axes")
    channels = form.source[group[0]] if group[0] < len(form.source) else None
    core = combine.select(form.core, group[0], start, stop, channels if isinstance(channels, int) else None)
    if isinstance(core, Refused):
        return core
    shape = (*form.shape[: group[0]], stop - start, *form.shape[group[0] + 1 :])
    return replace(form, core=core, shape=shape)


def trim(core: AffineMap) -> AffineMap:
    """The core with a kernel as small as its zeros allow; itself where there is nothing to leave out.

    A depthwise convolution of which a single tap is left is a line per channel.
    """
    if not isinstance(core, Conv):
        return core
    small = trimmed(core)
    line = None if small is core else pointwise_from(small)
    return line if isinstance(line, PerChannel) else small


def _channel_axis(cores: Sequence[AffineMap]) -> int:
    axes = [core.axis for core in cores if isinstance(core, PerChannel | Dense)]
    return next((axis for axis in axes if axis is not None), 1)


def _channels(forms: Sequence[Form]) -> int | None:
    size = forms[0].source[_channel_axis([form.core for form in forms])] if len(forms[0].source) > 1 else None
    return size if isinstance(size, int) else None


def _sizes(source: Shape) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in source[2:])


def is_finite(form: Form) -> bool:
    """Whether every number of the form is finite."""
    return has_finite_numbers(form.core)


def has_finite_numbers(m: AffineMap) -> bool:
    """Whether every number of the map is finite."""
    match m:
        case PerChannel(scale=a, offset=b) | Dense(weight=a, bias=b) | TransposedConv(weight=a, bias=b):
            return bool(np.isfinite(a).all() and np.isfinite(b).all())
        case SpatialMean():
            return has_finite_numbers(m.then)
        case Conv(weight=a, bias=b, border=c):
            return bool(np.isfinite(a).all() and np.isfinite(b).all() and (c is None or np.isfinite(c).all()))
