"""Augmentation of images on the device."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from onnx_nepenthe.prune.augment import augmented  # noqa: E402


def images(count: int = 64) -> torch.Tensor:
    return torch.arange(1, count * 2 * 3 * 4 + 1, dtype=torch.float32).view(count, 2, 3, 4)


def test_nothing_asked_for_changes_nothing() -> None:
    given = images()
    assert augmented(given, flip=False, crop=0, generator=torch.Generator()) is given


def test_about_half_of_the_images_are_mirrored_and_none_is_anything_else() -> None:
    given = images()
    made = augmented(given, flip=True, crop=0, generator=torch.Generator().manual_seed(0))
    mirrored = [bool((new == old.flip(2)).all()) for new, old in zip(made, given, strict=True)]
    same = [bool((new == old).all()) for new, old in zip(made, given, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_images_move_by_whole_pixels_and_zeros_come_in() -> None:
    given = images(200)
    made = augmented(given, flip=False, crop=1, generator=torch.Generator().manual_seed(0))
    seen = set()
    for new, old in zip(made, given, strict=True):
        padded = torch.nn.functional.pad(old, (1, 1, 1, 1))
        windows = {(y, x): padded[:, y : y + 3, x : x + 4] for y in range(3) for x in range(3)}
        (at,) = [at for at, window in windows.items() if torch.equal(window, new)]
        seen.add(at)
    assert len(seen) == 9


def test_the_generator_alone_decides() -> None:
    first, second, third = (
        augmented(images(), flip=True, crop=2, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
