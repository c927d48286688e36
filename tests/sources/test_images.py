"""Folders of images."""

from __future__ import annotations

import builtins
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError, UsageError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources import SourceOptions, images, open_source

NCHW = Tensor("x", ("n", 3, 4, 6), "float")
DYNAMIC = Tensor("x", ("n", 3, "h", "w"), "float")
RNG = np.random.default_rng(0)


def drawn(path: Path, height: int = 4, width: int = 6, channels: int = 3) -> npt.NDArray[np.uint8]:
    """A random image saved at `path`; (h, w, channels) or (h, w)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, channels)[: 2 if channels == 1 else 3], dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def read(folder: Path, port: Tensor, **options: Any) -> npt.NDArray[Any]:
    return np.concatenate(
        [b.feeds[port.name] for b in open_source(folder, [port], SourceOptions(**options)).batches(2)]
    )


def test_scaled_by_255_channels_first(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "a.png")
    read_back = read(tmp_path, NCHW)
    assert read_back.dtype == np.float32
    np.testing.assert_array_equal(read_back[0], (pixels.transpose(2, 0, 1) / np.float32(255)))


def test_channels_last_and_layout(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "a.png")
    expected = (pixels / 255).astype(np.float32)[None]
    np.testing.assert_array_equal(read(tmp_path, Tensor("x", (1, 4, 6, 3))), expected)
    np.testing.assert_array_equal(read(tmp_path, Tensor("x", None), layout="nhwc"), expected)
    np.testing.assert_array_equal(read(tmp_path, Tensor("x", (1, 4, None, None))), expected)
    np.testing.assert_array_equal(read(tmp_path, Tensor("x", None)), expected.transpose(0, 3, 1, 2))


def test_bytes_go_raw_into_a_uint8_model(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "a.bmp")
    result = read(tmp_path, Tensor("x", (1, 4, 6, 3), "uint8"))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[0], pixels)
    for options in ({"mean": (1.0,)}, {"std": (2.0,)}, {"scale": 1.0}):
        with pytest.raises(UsageError, match="takes bytes"):
            read(tmp_path, Tensor("x", (1, 4, 6, 3), "uint8"), **options)


def test_mean_std_scale_and_colour(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "a.png").astype(np.float64)
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    result = read(tmp_path, NCHW, scale=1.0, mean=mean, std=std, colour="bgr")
    expected = (pixels[:, :, ::-1] - mean) / std
    np.testing.assert_array_equal(result[0], expected.astype(np.float32).transpose(2, 0, 1))
    result = read(tmp_path, NCHW, mean=(0.5,), std=(0.25,))
    np.testing.assert_array_equal(result[0], ((pixels / 255 - 0.5) / 0.25).astype(np.float32).transpose(2, 0, 1))
    with pytest.raises(UsageError, match="the mean has 2 numbers, the model's images 3 channels"):
        read(tmp_path, NCHW, mean=(1.0, 2.0))


def test_grey_models_and_grey_images(tmp_path: Path) -> None:
    grey = drawn(tmp_path / "a.png", channels=1)
    np.testing.assert_array_equal(read(tmp_path, Tensor("x", (1, 1, 4, 6), "uint8"))[0, 0], grey)
    np.testing.assert_array_equal(read(tmp_path, Tensor("x", (1, 3, 4, 6), "uint8"))[0], np.stack([grey] * 3))


def test_alpha_and_palettes_become_colours(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, 6, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    paletted = Image.fromarray(pixels[:, :, :3]).quantize(24)
    paletted.save(tmp_path / "b.png", transparency=b"\x00\x80")
    result = read(tmp_path, Tensor("x", ("n", 4, 6, 3), "uint8"))
    np.testing.assert_array_equal(result[0], pixels[:, :, :3])
    np.testing.assert_array_equal(result[1], np.asarray(paletted.convert("RGB")))


def test_classes_are_counted_by_sorted_name_and_keep_empty_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("dog/b.png", "cat/deeper/a.png", "cat/z.png", ".hidden/a.png", "__MACOSX/a.png", "dog/._b.png"):
        drawn(tmp_path / name)
    (tmp_path / "cow").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    with caplog.at_level(logging.WARNING):
        (batch,) = open_source(tmp_path, [NCHW]).batches(9)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 0, 2]
    assert "class folder 'cow' holds no images" in caplog.text


def test_numbered_classes_out_of_order_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("2", "10"):
        drawn(tmp_path / name / "a.png")
    with caplog.at_level(logging.WARNING):
        (batch,) = open_source(tmp_path, [NCHW]).batches(9)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1]
    assert "in the order of their names as text (10, 2 …)" in caplog.text


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    drawn(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    assert open_source(tmp_path / "data", [NCHW]).count() == 1


def test_images_on_two_levels_are_ambiguous(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png")
    drawn(tmp_path / "cat" / "b.png")
    with pytest.raises(UnreadableError, match="both in the folder and in its sub-folders"):
        open_source(tmp_path, [NCHW])


def test_cropping_takes_the_centre_of_the_scaled_image(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "a.png", 4, 10)
    port = Tensor("x", (1, 4, 4, 3), "uint8")
    np.testing.assert_array_equal(read(tmp_path, port)[0], pixels[:, 3:7])
    larger = Image.fromarray(pixels).resize((20, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read(tmp_path, port, crop_fraction=0.5)[0], np.asarray(larger)[2:6, 8:12])
    stretched = Image.fromarray(pixels).resize((4, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read(tmp_path, port, resize="stretch")[0], np.asarray(stretched))
    with pytest.raises(UnreadableError, match=r"a\.png: 4x10 pixels, not 4x4; give --resize crop or --resize stretch"):
        read(tmp_path, port, resize="exact")


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (7, 3), (31, 31), (3, 200)])
@pytest.mark.parametrize("size", [(16, 16), (9, 17), (17, 9)])
@pytest.mark.parametrize("fraction", [1.0, 0.875, 0.33])
def test_any_shape_is_brought_to_size(
    tmp_path: Path, shape: tuple[int, int], size: tuple[int, int], fraction: float
) -> None:
    Image.fromarray(np.full((*shape, 3), 200, np.uint8)).save(tmp_path / "a.png")
    result = read(tmp_path, Tensor("x", (1, *size, 3), "uint8"), crop_fraction=fraction)
    assert result.shape == (1, *size, 3)
    assert result.min() == 200  # nothing outside the image got in


def test_a_dynamic_model_takes_the_size_asked_for_or_the_first_images(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", 5, 7)
    assert read(tmp_path, DYNAMIC).shape == (1, 3, 5, 7)
    assert read(tmp_path, DYNAMIC, image_size=(3, 4)).shape == (1, 3, 3, 4)
    drawn(tmp_path / "b.png", 5, 8)
    with pytest.raises(UnreadableError, match=r"b\.png: 5x8 pixels, not 5x7, as the first .* --image-size HxW"):
        read(tmp_path, DYNAMIC)
    assert read(tmp_path, DYNAMIC, image_size=(3, 4)).shape == (2, 3, 3, 4)


def test_the_size_may_not_contradict_the_model(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png")
    with pytest.raises(UsageError, match="image size 8x6 does not fit input 'x', which takes 4x6"):
        read(tmp_path, NCHW, image_size=(8, 6))


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ([NCHW, NCHW], "images feed models with one input, this one has 2"),
        ([Tensor("x", (1, 3, 4), "float")], "input 'x' has rank 3"),
        ([Tensor("x", (1, 4, 6, 5), "float")], "no axis of input 'x' holds 1 or 3 channels"),
        ([Tensor("x", (1, 3, 4, 6), "int64")], "input 'x' takes int64"),
    ],
)
def test_models_that_take_no_images(tmp_path: Path, ports: list[Tensor], message: str) -> None:
    drawn(tmp_path / "a.png")
    with pytest.raises(UnsupportedError, match=message):
        open_source(tmp_path, ports)


def test_a_stated_layout_may_show_that_the_channels_do_not_fit(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png")
    with pytest.raises(UnsupportedError, match="has 4 channels"):
        read(tmp_path, Tensor("x", (1, 4, 6, 3)), layout="nchw")


def test_a_first_image_that_is_broken_is_named_before_its_size_is_taken_for_that_of_all(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", 9, 9)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-60])
    drawn(tmp_path / "b.png")
    with pytest.raises(UnreadableError, match=r"a\.png: not a readable image"):
        open_source(tmp_path, [DYNAMIC])


def test_broken_images_are_named(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for name, data in (("b.png", whole[:-30]), ("b.png", b"no image"), ("b.jpg", b""), ("b.webp", b"RIFF1234WEBP")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableError, match=rf"{name}: not a readable image"):
            read(tmp_path, NCHW)
        (tmp_path / name).unlink()


def test_formats_that_are_programs_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to another program, whatever the file is called."""

    def run(*words: object, **options: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", run)
    monkeypatch.setattr("subprocess.Popen", run)
    drawn(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n")
    with pytest.raises(UnreadableError, match=r"b\.png: not a readable image"):
        read(tmp_path, NCHW)


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UnreadableError, match=r"deep\.png: more than 8 bits per channel"):
        read(tmp_path, NCHW)


@pytest.mark.parametrize("limit", [23, 5])
def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    drawn(tmp_path / "a.png")
    monkeypatch.setattr(images, "LARGEST_PIXELS", limit)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # 24 pixels: a warning of Pillow's, then its error
    with pytest.raises(UnreadableError, match=r"a\.png: more than \d+ pixels"):
        read(tmp_path, NCHW)


def test_nothing_is_decoded_that_no_batch_takes(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    source = open_source(tmp_path, [NCHW])
    assert source.count() == 5
    verification = next(n for n in range(5) if _is_broken(tmp_path, n))
    drawn(tmp_path / f"{verification}.png")
    assert [batch.size for batch in source.batches(4, "verification")] == [1]


def _is_broken(folder: Path, number: int) -> bool:
    """Whether verification reads image `number`."""
    with pytest.raises(UnreadableError) as caught:
        list(open_source(folder, [NCHW]).batches(4, "verification"))
    return f"{number}.png" in str(caught.value)


def test_without_pillow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(tmp_path / "a.png")
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(UnsupportedError, match="needs Pillow; run: pip install pillow"):
        open_source(tmp_path, [NCHW])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit of samples"),
        ({"image_size": (0, 3)}, "image size must be positive"),
        ({"std": (1.0, 0.0, 1.0)}, "standard deviation of 0"),
        ({"crop_fraction": 0.0}, "crop fraction"),
        ({"layout": "chw"}, "layout must be one of nchw, nhwc, not 'chw'"),
        ({"colour": "grb"}, "colour must be one of rgb, bgr"),
        ({"resize": "pad"}, "resize must be one of crop, stretch, exact"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NepentheError, match=message):
        SourceOptions(**options)
