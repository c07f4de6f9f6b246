"""Writers of small font files for the tests."""

import io
import struct
from collections.abc import Callable
from typing import Any

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable

LETTERS = "ABCDEFGHIJ"
NO_BOUNDS = dict.fromkeys(("xMin", "yMin", "xMax", "yMax"), 0)


def font_bytes(draw: Callable[[Any, str], object], *, postscript: bool = False, letters: str = LETTERS) -> bytes:
    """A font of 1000 units an em in which `draw(pen, letter)` draws each letter, TrueType or PostScript."""
    names = [".notdef", *letters]
    builder = FontBuilder(1000, isTTF=not postscript)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): letter for letter in letters})
    drawn = {}
    for name in names:
        pen = T2CharStringPen(600, None) if postscript else TTGlyphPen(dict.fromkeys(names))
        if name in letters:
            draw(pen, name)
        drawn[name] = pen.getCharString() if postscript else pen.glyph()
        if not postscript:
            vars(drawn[name]).update(NO_BOUNDS)
    if postscript:
        builder.setupCFF("Test", {"FullName": "Test"}, drawn, {})
    else:
        builder.setupGlyf(drawn, calcGlyphBounds=False)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost(keepGlyphNames=False)  # readers have to make up names
    if not postscript:
        builder.font.recalcBBoxes = False  # it would take for ever where glyphs are nested on purpose
        vars(builder.font["head"]).update(NO_BOUNDS)
    return saved(builder.font)


def saved(font: TTFont) -> bytes:
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def with_characters(data: bytes, *tables: list[tuple[int, int, int]]) -> bytes:
    """The font with other character tables, each of groups (first character, last character, first glyph)."""
    font = TTFont(io.BytesIO(data))
    records, content = b"", b""
    for platform, groups in zip((0, 3)[-len(tables) :], tables, strict=True):  # Unicode's and Windows' own
        records += struct.pack(">HHI", platform, 10, 4 + 8 * len(tables) + len(content))
        content += struct.pack(">HHIII", 12, 0, 16 + 12 * len(groups), 0, len(groups))
        content += b"".join(struct.pack(">III", *group) for group in groups)
    font["cmap"] = newTable("cmap")
    font["cmap"].compile = lambda _: struct.pack(">HH", 0, len(tables)) + records + content
    return saved(font)


def polygon(pen: Any, *corners: tuple[float, float]) -> None:
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
