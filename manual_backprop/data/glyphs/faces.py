"""Faces: the outlines of the letters A to J in font files."""
# ruff: noqa: RUF001 (the mathematical alphabets are meant)

import functools
import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont
from matplotlib.ft2font import FT2Font

from manual_backprop.data.glyphs.letters import Letter, Points, letter_of

LATIN = "ABCDEFGHIJ"
MOST_POINTS = 50_000
"""An outline of more points is refused; ordinary ones have a few hundred."""

# The faces of the default set: each alphabet with the files to draw it from. Unicode's mathematical alphabets are
# designs of their own. Files that only some versions of matplotlib have are left out.
_FACES = {
    LATIN: "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSans-BoldOblique DejaVuSansMono DejaVuSansMono-Bold "
    "DejaVuSansMono-Oblique DejaVuSansMono-BoldOblique DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic "
    "DejaVuSerif-BoldItalic STIXGeneral STIXGeneralBol STIXGeneralItalic STIXGeneralBolIta cmb10 cmmi10 cmr10 cmss10 "
    "cmsy10 cmtt10",
    "𝐴𝐵𝐶𝐷𝐸𝐹𝐺𝐻𝐼𝐽": "STIXGeneral",
    "𝑨𝑩𝑪𝑫𝑬𝑭𝑮𝑯𝑰𝑱": "STIXGeneral",
    "𝒜ℬ𝒞𝒟ℰℱ𝒢ℋℐ𝒥": "STIXGeneral",
    "𝓐𝓑𝓒𝓓𝓔𝓕𝓖𝓗𝓘𝓙": "STIXGeneral",
    "𝔄𝔅ℭ𝔇𝔈𝔉𝔊ℌℑ𝔍": "STIXGeneral",
    "𝕬𝕭𝕮𝕯𝕰𝕱𝕲𝕳𝕴𝕵": "STIXGeneral",
    "𝔸𝔹ℂ𝔻𝔼𝔽𝔾ℍ𝕀𝕁": "STIXGeneral DejaVuSans-Oblique DejaVuSans-Bold DejaVuSerif",
    "𝖠𝖡𝖢𝖣𝖤𝖥𝖦𝖧𝖨𝖩": "STIXGeneral",
    "𝗔𝗕𝗖𝗗𝗘𝗙𝗚𝗛𝗜𝗝": "STIXGeneral",
    "𝘈𝘉𝘊𝘋𝘌𝘍𝘎𝘏𝘐𝘑": "STIXGeneral",
    "𝘼𝘽𝘾𝘿𝙀𝙁𝙂𝙃𝙄𝙅": "STIXGeneral",
    "𝙰𝙱𝙲𝙳𝙴𝙵𝙶𝙷𝙸𝙹": "STIXGeneral",
    "".join(map(chr, range(0xE22D, 0xE237))): "STIXNonUniIta",  # calligraphic letters at private codes
    "".join(map(chr, range(0xE247, 0xE251))): "STIXNonUniBolIta",
}

Face = Sequence[Letter]
"""Ten letters, A to J."""

logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of dates and paddings that do not matter here


@functools.cache
def default_faces() -> Sequence[Face]:
    """Return the 39 faces of the default set, from the fonts that matplotlib ships."""
    folder = Path(mpl.get_data_path(), "fonts", "ttf")
    return [
        read_face((folder / f"{name}.ttf").read_bytes(), alphabet)
        for alphabet, names in _FACES.items()
        for name in names.split()
    ]


def read_face(data: bytes, alphabet: str = LATIN) -> Face:
    """Read ten letters from the content of a font file (of a collection, from its first font).

    Raises
    ------
    Exception
        Of no particular kind, for the libraries promise none, if the file is damaged or lacks a letter.
    """
    # FreeType looks up one character at a time, where fontTools would write out the whole table, and a broken one can
    # claim thousands of millions. Hence also numbers for the glyphs' names, which fontTools would take from that table.
    characters = FT2Font(BytesIO(data))
    font = TTFont(BytesIO(data), fontNumber=0, lazy=True)
    if "glyf" in font:
        font.setGlyphOrder([str(index) for index in range(font["maxp"].numGlyphs)])
    glyphs = font.getGlyphSet()
    face = []
    for character in alphabet:
        index = characters.get_char_index(ord(character))
        if index == 0:
            raise ValueError(f"no letter {character}")
        pen = _OutlinePen(glyphs)
        glyphs[font.getGlyphName(index)].draw(pen)
        face.append(letter_of([np.array(contour, dtype=np.float64) for contour in pen.contours]))
    return face


class _OutlinePen(BasePen):  # type: ignore[misc]  # fontTools has no types
    """Collects the points of contours: of lines and curves alike eight each, so that lines can bend too."""

    def __init__(self, glyphs: object) -> None:
        super().__init__(glyphs)
        self.contours: list[list[Points]] = []
        self.budget = MOST_POINTS

    def _moveTo(self, start: Points) -> None:  # noqa: N802 (the names are fontTools')
        self.contours.append([start])

    def _lineTo(self, end: Points) -> None:  # noqa: N802
        third = np.subtract(end, self._getCurrentPoint()) / 3
        self._curveToOne(end - 2 * third, end - third, end)

    def _closePath(self) -> None:  # noqa: N802
        self._lineTo(self.contours[-1][0])

    def _curveToOne(self, *controls: Points) -> None:  # noqa: N802
        """Append b(t) = (1-t)³ p + 3t(1-t)² q + 3t²(1-t) r + t³ s, a cubic Bézier curve, for t = 1/8, 2/8, ..., 1."""
        self._spend(8)
        t = np.arange(1, 9)[:, np.newaxis] / 8
        p, q, r, s = np.array([self._getCurrentPoint(), *controls])
        self.contours[-1].extend((1 - t) ** 3 * p + 3 * t * (1 - t) ** 2 * q + 3 * t**2 * (1 - t) * r + t**3 * s)

    def addComponent(self, *arguments: object) -> None:  # noqa: N802
        """Draw another glyph as a part of this one, which a hostile font does without end."""
        self._spend(1)
        super().addComponent(*arguments)

    def _spend(self, points: int) -> None:
        self.budget -= points
        if self.budget < 0:
            raise ValueError(f"more than {MOST_POINTS} points")
