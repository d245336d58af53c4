"""A picture on file becomes the pixels that were asked for, or is refused with a reason; nothing else happens."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecosystem.humans.pictures import MOST_PIXELS, TOO_LARGE, TOO_SMALL, UNREADABLE, Frame, Unfit, pixels
from ecosystem.rng import stream


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def noise(*shape: int) -> Any:
    return stream(0, "test", "noise").integers(0, 256, shape, dtype=np.uint8)


def read(image: Image.Image, path: Path, frame: Frame, **options: Any) -> Any:
    image.save(path, **options)
    return pixels(path, frame)


# Truth ------------------------------------------------------------------------------------------------------


def lanczos(x: Any, size: int) -> Any:
    """(n, ...) to (size, ...) by the formula: sinc(t) sinc(t / 3), t in pixels of the smaller, weights of sum 1."""
    scale = len(x) / size
    at = (np.arange(size) + 0.5) * scale
    t = (np.arange(len(x)) + 0.5 - at[:, None]) / scale
    weights = np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0)
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), x, axes=1)


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(6, 50),
    height=st.integers(6, 50),
    data=st.data(),
    channels=st.sampled_from([1, 3]),
    crop=st.sampled_from(["center", "none"]),
)
def test_pixels_are_those_of_the_formula(
    width: int, height: int, data: st.DataObject, channels: Any, crop: Any, scratch: Path
) -> None:
    """Cut, then scaled across and down in either order; Pillow rounds to bytes in between, so to a level or two."""
    size = data.draw(st.integers(4, min(width, height)))
    source = noise(height, width, channels)
    image = Image.fromarray(source.squeeze(2) if channels == 1 else source)
    found = read(image, scratch / "formula.png", Frame(size, channels, crop))
    assert found.shape == (channels, size, size) and found.dtype == np.uint8
    if crop == "center":
        side = min(width, height)
        source = source[(height - side) // 2 :, (width - side) // 2 :][:side, :side]
    rows, columns = source.astype(float), source.astype(float).swapaxes(0, 1)
    down_last = lanczos(lanczos(columns, size).clip(0, 255).swapaxes(0, 1), size).clip(0, 255)
    across_last = lanczos(lanczos(rows, size).clip(0, 255).swapaxes(0, 1), size).clip(0, 255).swapaxes(0, 1)
    assert min(np.abs(found - x.transpose(2, 0, 1)).max() for x in (down_last, across_last)) <= 2
    if (width, height) == (size, size):
        assert np.array_equal(found, source.transpose(2, 0, 1)), "what has the size is left as it is"


ALIKE = {  # mode -> (a colour in it, the red, green and blue that it stands for)
    "1": (1, (255, 255, 255)),
    "L": (77, (77, 77, 77)),
    "RGB": ((250, 3, 90), (250, 3, 90)),
    "RGBA": ((250, 100, 50, 51), (50, 20, 10)),  # a fifth of it, on black
    "LA": ((200, 51), (40, 40, 40)),
    "CMYK": ((0, 255, 0, 0), (255, 0, 255)),
    "I;16": (257 * 77 + 100, (77, 77, 77)),
}
ENDINGS = {"CMYK": "tif"}


@pytest.mark.parametrize("mode", ALIKE)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_the_colour_it_stands_for(mode: str, channels: Any, tmp_path: Path) -> None:
    colour, rgb = ALIKE[mode]
    path = tmp_path / f"x.{ENDINGS.get(mode, 'png')}"
    found = read(Image.new(mode, (12, 9), colour), path, Frame(5, channels, "center"))
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    expected = np.array(rgb if channels == 3 else [luma])[:, None, None]
    assert np.abs(found.astype(float) - expected).max() <= 0.5
    assert (found == found[:, :1, :1]).all()


def test_palettes_and_colour_keys_are_followed_also_to_what_is_transparent(tmp_path: Path) -> None:
    source = np.zeros((8, 8), np.uint8)
    source[:, 4:] = 1
    image = Image.fromarray(source)
    image.putpalette([200, 10, 30, 0, 250, 60])
    path, frame = tmp_path / "x.png", Frame(8, 3, "none")
    assert read(image, path, frame)[:, 0, [0, 7]].T.tolist() == [[200, 10, 30], [0, 250, 60]]
    assert read(image, path, frame, transparency=1)[:, 0, [0, 7]].T.tolist() == [[200, 10, 30], [0, 0, 0]]
    grey = Image.fromarray(source + 70)
    assert read(grey, path, frame, transparency=71)[:, 0, [0, 7]].T.tolist() == [[70] * 3, [0] * 3]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_become_eight(ending: str, tmp_path: Path) -> None:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    found = read(Image.fromarray(deep), tmp_path / f"x.{ending}", Frame(8, 1, "none"))
    assert np.abs(found[0] - deep / 257).max() <= 0.5


UPRIGHT = {  # EXIF orientation -> how the stored rows are turned back (EXIF 2.3, 4.6.4 A)
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("ending", "options"), [("png", {}), ("tif", {}), ("webp", {"lossless": True})])
def test_pictures_stand_upright(orientation: int, ending: str, options: Any, tmp_path: Path) -> None:
    stored, exif = noise(8, 12, 3), Image.Exif()
    exif[0x0112] = orientation
    found = read(Image.fromarray(stored), tmp_path / f"x.{ending}", Frame(8, 3, "center"), exif=exif, **options)
    turned = UPRIGHT[orientation](stored)
    cut = turned[2:10] if len(turned) == 12 else turned[:, 2:10]
    assert np.array_equal(found, cut.transpose(2, 0, 1))


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    first, second = (Image.new("L", (8, 8), value) for value in (40, 200))
    found = read(first, tmp_path / "x.gif", Frame(8, 1, "center"), save_all=True, append_images=[second])
    assert (found == 40).all()


def test_the_content_decides_the_format(tmp_path: Path) -> None:
    found = read(Image.new("L", (8, 8), 40), tmp_path / "x.jpg", Frame(8, 1, "center"), format="PNG")
    assert (found == 40).all()


# Faults -----------------------------------------------------------------------------------------------------


def why(path: Path, frame: Frame) -> Unfit:
    with pytest.raises(Unfit) as caught:
        pixels(path, frame)
    return caught.value


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few pixels."""
    chunks = b""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(40))), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("size", [(9_500, 9_500), (30_000, 30_000), (MOST_PIXELS + 1, 1)])
def test_decompression_bombs_are_refused_by_their_header(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_of(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert why(tmp_path / "x.png", Frame(4, 3, "center")).why == TOO_LARGE


@pytest.mark.parametrize("size", [(7, 30), (30, 7), (7, 7)])
@pytest.mark.parametrize("crop", ["center", "none"])
def test_none_is_scaled_up(size: tuple[int, int], crop: Any, tmp_path: Path) -> None:
    Image.new("L", size).save(tmp_path / "x.png")
    fault = why(tmp_path / "x.png", Frame(8, 1, crop))
    assert (fault.why, fault.detail, fault.side) == (TOO_SMALL, f"{size[0]}x{size[1]}", 7)
    assert pixels(tmp_path / "x.png", Frame(7, 1, crop)).shape == (1, 7, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_no_known_range_are_refused(dtype: Any, tmp_path: Path) -> None:
    Image.fromarray(np.ones((8, 8), dtype)).save(tmp_path / "x.tif")
    assert "range is not known" in why(tmp_path / "x.tif", Frame(8, 1, "center")).detail


def test_no_other_program_is_run(tmp_path: Path) -> None:
    """PostScript under an image's name would be handed to Ghostscript."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    assert why(tmp_path / "x.png", Frame(4, 1, "center")).detail == "its content is no image"


@pytest.mark.parametrize("text", [b"", b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", bytes(99)])
def test_what_is_no_image_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(text)
    assert why(tmp_path / "x.png", Frame(4, 1, "center")).why == UNREADABLE
    assert why(tmp_path / "y.png", Frame(4, 1, "center")).why == UNREADABLE


WHOLE = noise(20, 16, 3)


@pytest.mark.parametrize("lost", range(21))
def test_a_damaged_png_is_refused_also_where_its_checksums_are_missing(lost: int, tmp_path: Path) -> None:
    """Its pixels could still be read."""
    path, frame = tmp_path / "x.png", Frame(8, 3, "center")
    read(Image.fromarray(WHOLE), path, frame)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 2
    path.write_bytes(data[: len(data) - lost])
    assert why(path, frame).why == UNREADABLE


@settings(max_examples=60, deadline=None)
@given(
    ending=st.sampled_from(["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
)
def test_damage_is_refused_or_leaves_pixels_of_the_right_shape(
    ending: str, cut: float, flips: list[tuple[float, int]], scratch: Path
) -> None:
    """PNG carries checksums: there what is damaged is never taken for pixels."""
    path, frame = scratch / f"damaged.{ending}", Frame(8, 3, "center")
    whole = read(Image.fromarray(WHOLE), path, frame)
    data = bytearray(path.read_bytes())
    for place, change in flips:
        data[int(place * len(data))] ^= change
    path.write_bytes(data[: round(cut * len(data))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pixels(path, frame)
        except Unfit as fault:
            assert fault.why in (UNREADABLE, TOO_SMALL, TOO_LARGE) and fault.detail
        else:
            assert found.shape == (3, 8, 8) and found.dtype == np.uint8
            assert ending != "png" or np.array_equal(found, whole)
