"""How data are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from onnx_nepenthe.errors import UsageError


@dataclass(frozen=True)
class SourceOptions:
    """How data are read; what does not concern a source is ignored by it.

    Attributes:
        seed: of the split and of the choice that `limit` makes.
        limit: the data are this many samples, taken from everywhere when their number is known, else the first.
        image_size: (height, width) in pixels; None for the model's own.
        mean: subtracted per channel after scaling, in the model's channel order; one number serves all.
        std: divided by per channel after that.
        scale: factor of the bytes 0…255; None for 1/255. Models with uint8 inputs get the bytes.
        layout: where the channels are; None to see it from the model's shape.
        colour: order of the channels.
        resize: "crop" scales the shorter side and cuts the centre, "stretch" ignores the aspect,
            "exact" refuses images of another size.
        crop_fraction: share of the scaled image that "crop" keeps per side (224/256 on ImageNet by custom).
        workers: threads that read batches ahead of the model; 0 reads each when it is needed.
        whole_feeds: every record of a stream is one complete feed, because axis 0 is not the samples.
    """

    seed: int = 0
    limit: int | None = None
    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    colour: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["crop", "stretch", "exact"] = "crop"
    crop_fraction: float = 1.0
    whole_feeds: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if self.workers < 0:
            raise UsageError(f"the number of workers cannot be negative: {self.workers}")
        if self.image_size is not None and min(self.image_size) < 1:
            raise UsageError(f"the image size must be positive, not {self.image_size[0]}x{self.image_size[1]}")
        if self.std is not None and 0 in self.std:
            raise UsageError("a standard deviation of 0 cannot be divided by")
        if not 0 < self.crop_fraction <= 1:
            raise UsageError(f"the crop fraction must be above 0 and at most 1, not {self.crop_fraction}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                listed = ", ".join(str(value) for value in allowed if value)
                raise UsageError(f"{name} must be one of {listed}, not {getattr(self, name)!r}")


_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "layout": ("nchw", "nhwc", None),
    "colour": ("rgb", "bgr"),
    "resize": ("crop", "stretch", "exact"),
}


def check_limit(limit: int | None) -> None:
    """Raises UsageError for a limit that leaves nothing."""
    if limit is not None and limit < 1:
        raise UsageError(f"the limit of samples must be at least 1, not {limit}")
