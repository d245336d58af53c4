"""One picture on file as pixels (C, S, S), uint8: whatever its format, its mode and its size.

In this order:

1. turned upright, as its EXIF orientation says; of an animation, the first frame;
2. to 8 bits a channel: 16-bit grey is divided by 257; what is transparent is laid on black; palettes, CMYK and the like
   become RGB, and RGB becomes grey by the luma of ITU-R 601, L = 0.299 R + 0.587 G + 0.114 B;
3. cut to the square in its middle (``center``), or left whole (``none``), and then squeezed where it is no square;
4. scaled to S x S by Pillow's Lanczos filter, sinc(t) sinc(t / 3) for |t| < 3 with t in pixels of the smaller image,
   so that it is antialiased. EDM's tool makes FFHQ at 64x64 with the same filter and the same cut (T. Karras,
   M. Aittala, T. Aila, S. Laine, Elucidating the Design Space of Diffusion-Based Generative Models, 2022,
   arXiv 2206.00364). A picture of S x S is left as it is; none is scaled up.

The file's content decides its format, and no format is tried but those below: some of Pillow's run other programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".pgm": "PPM",
    ".ppm": "PPM",
}
TRIED = tuple(dict.fromkeys(FORMATS.values()))
MOST_PIXELS = 2**30 // 12  # a quarter of a GiB in colour: where Pillow begins to warn of decompression bombs
MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Frame:
    """What is kept of a picture: ``size`` pixels a side, ``channels`` of colour."""

    size: int
    channels: Literal[1, 3]
    crop: Literal["center", "none"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S)"""
        return self.channels, self.size, self.size


class Unfit(Exception):
    """A picture that cannot be used: ``why``, said of many at once, and of this one in ``detail``."""

    def __init__(self, why: str, detail: str, side: int = 0) -> None:
        super().__init__(f"{why} ({detail})")
        self.why, self.detail = why, detail
        self.side = side  # the shorter, in pixels, where it is known


UNREADABLE = "cannot be read"
TOO_SMALL = "cannot fill the size asked for"
TOO_LARGE = f"cannot be held: they have more than {MOST_PIXELS:,} pixels"


def pixels(path: Path, frame: Frame) -> NDArray[np.uint8]:
    """A picture's pixels, (C, S, S). Raises Unfit."""
    try:
        with Image.open(path, formats=TRIED) as image:
            _check_size(image, frame)
            if image.format == "PNG":  # Pillow reads no further than the last pixel, and may leave out a checksum
                _verify(path)
            return _pixels(image, frame)
    except Unfit:
        raise
    except Image.DecompressionBombError as error:
        raise Unfit(TOO_LARGE, "a decompression bomb?") from error
    except UnidentifiedImageError as error:
        raise Unfit(UNREADABLE, "its content is no image") from error
    except Exception as error:  # the decoders have a dozen ways to say "damaged"
        raise Unfit(UNREADABLE, str(error).strip() or type(error).__name__) from error


def _verify(path: Path) -> None:
    """All checksums. An image that was verified can no longer be loaded, so it is opened for this alone."""
    with Image.open(path, formats=TRIED) as image:
        image.verify()


def _check_size(image: Image.Image, frame: Frame) -> None:
    """By the header alone, before anything is decoded."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise Unfit(TOO_LARGE, f"{width:,}x{height:,}", min(width, height))
    if min(width, height) < frame.size:
        raise Unfit(TOO_SMALL, f"{width}x{height}", min(width, height))


def _pixels(image: Image.Image, frame: Frame) -> NDArray[np.uint8]:
    image.load()  # before it is turned: versions of Pillow turn a TIFF by themselves as they load it
    upright = ImageOps.exif_transpose(image)
    scaled = _framed(_converted(upright, image.format, MODES[frame.channels]), frame)
    found: NDArray[np.uint8] = np.asarray(scaled).reshape(frame.size, frame.size, frame.channels)
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def _converted(image: Image.Image, format: str | None, mode: str) -> Image.Image:
    """In 8 bits a channel, without transparency."""
    if image.mode == "F" or (image.mode == "I" and format not in ("PPM", "PNG")):
        raise Unfit(UNREADABLE, f"32-bit pixels of mode {image.mode}, whose range is not known")
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image.convert(mode)


def _framed(image: Image.Image, frame: Frame) -> Image.Image:
    if frame.crop == "center":
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        image = image.crop((left, top, left + side, top + side))
    return image.resize((frame.size, frame.size), Image.Resampling.LANCZOS)
