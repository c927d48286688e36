"""Forms in words."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.affine import forms
from onnx_nepenthe.affine.describe import describe
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, PerChannel, SpatialMean, identity, uniform


def conv(shape: tuple[int, ...], strides: tuple[int, int] = (1, 1), groups: int = 1, *, border: bool = False) -> Conv:
    edge = np.ones((shape[0], *shape[2:])) if border else None
    return Conv(np.ones(shape), np.zeros(shape[0]), strides, (1, 1), (0, 0), (0, 0), groups, edge)


CASES: dict[str, AffineMap] = {
    "nothing": identity(),
    "scale and shift": uniform(2.0, 1.0),
    "constant": PerChannel(1, np.zeros(4), np.ones(4)),
    "Dense 4→6": Dense(1, np.ones((6, 4)), np.zeros(6)),
    "mean over space": SpatialMean(identity()),
    "mean over space, then Dense 4→2": SpatialMean(Dense(1, np.ones((2, 4)), np.zeros(2))),
    "Conv 3x3 4→8": conv((8, 4, 3, 3)),
    "Conv 3x1 4→8, stride 2": conv((8, 4, 3, 1), (2, 2)),
    "Conv 1x1 4→8, stride 2x1": conv((8, 4, 1, 1), (2, 1)),
    "Conv 3x3 4→4, depthwise": conv((4, 1, 3, 3), groups=4),
    "Conv 3x3 4→4, 2 groups, exact border": conv((4, 2, 3, 3), groups=2, border=True),
    "Conv 3x3 4→4, dilation 2": Conv(np.ones((4, 4, 3, 3)), np.zeros(4), (1, 1), (2, 2), (0, 0), (0, 0)),
}


@pytest.mark.parametrize("words", CASES)
def test_each_map_has_its_words(words: str) -> None:
    start = forms.source_form((1, 4, 8, 8))
    assert describe(forms.Form(start.source, CASES[words], start.shape, start.view)) == words
