"""PNG pictures of small arrays: weights and digits."""

import base64
import struct
import zlib
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

SHADES = 10  # of red and of blue: more can hardly be told apart, and double the file

Pixels = npt.NDArray[np.uint8]


def png_data(pixels: Any, palette: Any = None) -> bytes:
    """A picture as the bytes of a PNG file (W3C, Portable Network Graphics, 8 bits a pixel).

    Args:
        pixels: (height, width), each a position in the palette, or a shade of grey from 0, black.
        palette: (n, 3) of red, green and blue, n at most 256; None for grey.
    """
    image = np.ascontiguousarray(pixels, dtype=np.uint8)
    height, width = image.shape
    colour_type = 0 if palette is None else 3
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with its filter, none
    rows[:, 1:] = image
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))]
    if palette is not None:
        chunks.append(_chunk(b"PLTE", np.asarray(palette, dtype=np.uint8).tobytes()))
    chunks += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png_image(data: bytes, alt: str, *, width: int) -> str:
    """An ``<img>`` of a PNG's bytes, its pixels enlarged with sharp edges to a width in pixels."""
    text = base64.b64encode(data).decode()
    return (
        f'<img alt="{escape(alt)}" width="{width}" style="image-rendering:pixelated;'
        f'max-width:100%;height:auto" src="data:image/png;base64,{text}">'
    )


def diverging_palette() -> Pixels:
    """256 colours (256, 3): 1 is blue, 128 white, 255 red, and 0 a grey for what has no number."""
    t = np.linspace(-1, 1, 255)[:, None]
    red, blue, white = np.array([[178, 24, 43], [33, 102, 172], [255, 255, 255]], dtype=float)
    colours = np.where(t > 0, white + t * (red - white), white - t * (blue - white))
    grey = np.array([[200, 200, 200]])
    return np.concatenate([grey, np.round(colours)]).astype(np.uint8)


def diverging_pixels(values: Any, largest: float) -> Pixels:
    """Positions in `diverging_palette` of numbers from -largest to largest; NaN has the grey."""
    scaled = np.asarray(values, dtype=float) / (largest or 1.0)
    known = np.where(np.isfinite(scaled), np.clip(scaled, -1, 1), 0)
    shades = np.round(SHADES * known) / SHADES
    return np.where(np.isfinite(scaled), np.round(128 + 127 * shades), 0).astype(np.uint8)
