"""Tables, pictures and pages: escaped, well-formed, and read back as they were."""

import struct
import zlib
from html.parser import HTMLParser

import numpy as np

from arraymlp.diagnosis.findings import Finding
from arraymlp.html.document import document, findings_list
from arraymlp.html.png import diverging_palette, diverging_pixels, png_data, png_image
from arraymlp.html.table import table


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open."""

    void = ("meta", "img", "br", "input", "link", "hr", "col")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_document_is_balanced_and_its_texts_are_escaped() -> None:
    found = Finding("dead_units", "100 of 100 < all & none", {})
    body = findings_list([found]) + table(["<a>", "b"], [["1 < 2", 3]], numeric=[1], caption="&")
    page = document("a <title>", body, script="let x = 1")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    for text in (
        "a &lt;title&gt;",
        "&lt;a&gt;",
        "1 &lt; 2",
        "dead units",
        "100 &lt; all &amp; none",
    ):
        assert text in page


def test_no_findings_are_said() -> None:
    assert "nothing to report" in findings_list([])


def test_a_png_has_the_pixels_it_was_given() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = diverging_palette()
    data = png_data(pixels, palette)
    chunks, at = {}, 8
    while at < len(data):
        (n,) = struct.unpack(">I", data[at : at + 4])
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + n]
        assert struct.unpack(">I", data[at + 8 + n : at + 12 + n]) == (zlib.crc32(name + content),)
        chunks[name], at = content, at + 12 + n
    assert struct.unpack(">IIBB", chunks[b"IHDR"][:10]) == (4, 3, 8, 3)
    assert chunks[b"PLTE"] == palette.tobytes()
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(3, 5)
    np.testing.assert_array_equal(rows[:, 1:], pixels)
    assert not rows[:, 0].any(), "no filter"
    assert 'alt="a &lt; b"' in png_image(data, "a < b", width=40)


def test_colours_of_numbers() -> None:
    palette = diverging_palette()
    pixels = diverging_pixels([[-2.0, -1.0, 0.0, 0.52, 1.0, 5.0, np.nan]], largest=1.0)
    assert pixels.tolist() == [[1, 1, 128, 192, 255, 255, 0]]
    assert palette[128].tolist() == [255, 255, 255]
    assert palette[255][0] > palette[255][2], "red above 0"
    assert palette[1][2] > palette[1][0], "blue below"
    assert diverging_pixels(np.zeros((1, 2)), largest=0.0).tolist() == [[128, 128]]
