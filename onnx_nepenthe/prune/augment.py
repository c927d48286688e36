"""Random mirroring and moving of a batch of images, on the device they are on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def augmented(images: Tensor, *, flip: bool, crop: int, generator: torch.Generator) -> Tensor:
    """A new batch (N, C, H, W); `images` itself when nothing is asked for.

    Args:
        images: (N, C, H, W).
        flip: each image is mirrored with probability one half.
        crop: each image is moved by -crop … crop pixels on both axes; what comes in is 0.
        generator: of the CPU, so that the numbers are the same on every device.
    """
    if flip:
        mirrored = torch.rand(len(images), generator=generator).lt(0.5).to(images.device)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    return _moved(images, crop, generator) if crop else images


def _moved(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1, 1), generator=generator).to(images.device)
    rows = down + torch.arange(height, device=images.device).view(1, height, 1)
    columns = right + torch.arange(width, device=images.device).view(1, 1, width)
    own = torch.arange(count, device=images.device).view(count, 1, 1)
    return F.pad(images, (most,) * 4)[own, :, rows, columns].movedim(3, 1).contiguous()
