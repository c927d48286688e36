"""Folders of images: one sub-folder per class, or no sub-folders and no labels. The only door to Pillow."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.ahead import Quiet
from onnx_nepenthe.sources.base import SOURCES, Batch, Entry, Indices, Piece, Source
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.pixels import Size, pixels_from_ports

if TYPE_CHECKING:
    from PIL.Image import Image

LOG = logging.getLogger(__name__)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Whatever a file is called, no other reader of Pillow's is let near it: some of them run programs (EPS)."""
LARGEST_PIXELS = 89_478_485
"""Pillow's own limit (a quarter GiB of RGB); larger images are taken for decompression bombs."""
QUIET = Quiet()
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)
_DEEP_MODES = ("I", "F")
"""More than 8 bits a channel, which `convert` would clip ("I;16" and its kin begin alike)."""


class Images(Source):
    """Images in the order of their paths; the label is the place of the class folder's name among the sorted names.

    Turned as stored (EXIF orientation is not applied) and without their alpha channel, as torchvision does.
    """

    def __init__(self, path: Path, ports: Sequence[Tensor], options: SourceOptions) -> None:
        super().__init__(str(path), options)
        _need_pillow(self.name)
        self._pixels = pixels_from_ports(ports, options, self.name)
        self._files, labels = _listed(path)
        self._labels = None if labels is None else np.asarray(labels, np.int64)
        self._input = ports[0].name
        self._resize = options.resize
        self._crop_fraction = options.crop_fraction
        size = self._pixels.size
        if size is None:
            with _opened(self._files[0]) as first:
                # Damage is told by its name, not by what size it makes of the others.
                first.load()
                size = self._pixels.size_like((first.height, first.width))
            self._resize = "exact"
        self._size = size

    def total(self) -> int | None:
        """Number of image files."""
        return len(self._files)

    def pieces(self) -> Iterator[Piece]:
        """One: everything; images are decoded when a batch takes them."""
        yield Piece(len(self._files), self._read)

    def _read(self, at: Indices) -> Batch:
        images = np.stack([self._image(self._files[position]) for position in at])
        return Batch({self._input: images}, None if self._labels is None else self._labels[at], len(at))

    def _image(self, path: Path) -> npt.NDArray[Any]:
        with _opened(path) as image:
            return self._pixels.values(np.asarray(self._resized(image.convert(self._pixels.mode), path), np.uint8))

    def _resized(self, image: Image, path: Path) -> Image:
        height, width = self._size
        if image.size == (width, height) and self._crop_fraction == 1:
            return image
        if self._resize == "exact":
            needs = (
                f"{height}x{width}, as the first one has and the model leaves open; give --image-size HxW (image_size)"
                if self._pixels.size is None
                else f"{height}x{width}; give --resize crop or --resize stretch (resize)"
            )
            raise UnreadableError(f"{path}: {image.height}x{image.width} pixels, not {needs}")
        if self._resize == "stretch":
            return _scaled(image, self._size)
        return _cropped(image, self._size, self._crop_fraction)


class _Images:
    def accepts(self, spec: object) -> bool:
        if not isinstance(spec, str | Path) or not Path(spec).is_dir():
            return False
        return any(_images_in(Path(spec))) or any(any(True for _ in _walk(child)) for child in _classes(Path(spec)))

    def open(self, spec: Any, ports: Sequence[Tensor], options: SourceOptions) -> Source:
        return Images(Path(spec), ports, options)


def _need_pillow(name: str) -> None:
    try:
        import PIL  # noqa: F401, PLC0415
    except ImportError as error:
        raise UnsupportedError(f"{name}: reading images needs Pillow; run: pip install pillow") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """The image, unread as yet; whatever is wrong with it becomes an error with its name."""
    from PIL import Image  # noqa: PLC0415

    try:
        with QUIET, Image.open(path, formats=FORMATS) as image:
            _check(image, path)
            yield image
    except NepentheError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except _DAMAGE as error:
        raise UnreadableError(f"{path}: not a readable image; remove or replace it") from error


def _check(image: Image, path: Path) -> None:
    if image.width * image.height > LARGEST_PIXELS:
        raise _too_large(path)
    if image.mode.startswith(_DEEP_MODES):
        raise UnreadableError(f"{path}: more than 8 bits per channel ({image.mode}); convert it, or give a .npz")


def _too_large(path: Path) -> UnreadableError:
    return UnreadableError(f"{path}: more than {LARGEST_PIXELS:,} pixels; scale the image down")


def _scaled(image: Image, size: Size) -> Image:
    from PIL.Image import Resampling  # noqa: PLC0415

    return image.resize((size[1], size[0]), Resampling.BILINEAR)


def _cropped(image: Image, size: Size, fraction: float) -> Image:
    """Scaled until the crop is `fraction` of it in the tighter direction, then the centre.

    Source: torchvision's Resize(round(size / fraction)) and CenterCrop(size), roundings included.
    """
    (height, width), (full_height, full_width) = size, (round(size[0] / fraction), round(size[1] / fraction))
    if full_height * image.width >= full_width * image.height:
        full_width = max(full_width, full_height * image.width // image.height)
    else:
        full_height = max(full_height, full_width * image.height // image.width)
    left, top = round((full_width - width) / 2), round((full_height - height) / 2)
    return _scaled(image, (full_height, full_width)).crop((left, top, left + width, top + height))


def _listed(path: Path) -> tuple[list[Path], list[int] | None]:
    """Image files, and the class of each when they lie in class folders.

    Raises:
        UnreadableError: images both beside and inside the sub-folders.
    """
    flat, classes = _images_in(path), _classes(path)
    by_class = [list(_walk(folder)) for folder in classes]
    if flat and any(by_class):
        raise UnreadableError(f"{path}: images lie both in the folder and in its sub-folders; keep one of the two")
    if flat:
        return flat, None
    names = [folder.name for folder in classes]
    if all(name.isdecimal() for name in names) and names != sorted(names, key=int):
        LOG.warning("%s: classes are counted in the order of their names as text (%s …)", path, ", ".join(names[:4]))
    for name in (name for name, files in zip(names, by_class, strict=True) if not files):
        LOG.warning("%s: class folder %r holds no images; it keeps its number", path, name)
    files = [file for images in by_class for file in images]
    return files, [number for number, images in enumerate(by_class) for _ in images]


def _classes(path: Path) -> list[Path]:
    return sorted((child for child in path.iterdir() if child.is_dir() and _is_shown(child.name)), key=lambda p: p.name)


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_shown(name))
        yield from _images_in(Path(where))


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        child
        for child in folder.iterdir()
        if child.suffix.lower() in SUFFIXES and _is_shown(child.name) and child.is_file()
    )


def _is_shown(name: str) -> bool:
    """Not hidden, nor what macOS adds to archives."""
    return not name.startswith(".") and name != "__MACOSX"


IMAGES: Entry = SOURCES.register("images")(_Images())
