"""Which characters and colours a console can show: the alphabet every part of a report draws with.

A report must survive a terminal, a pipe, NO_COLOR and an ASCII locale (rich dies encoding a box-drawing
character there). So no part names a character of its own: it takes them from a `GlyphSet`, of which there are
two, `UNICODE` and `ASCII`. What the alphabet cannot promise is text written by others (a question, a name);
`encodable` maps that, character by character and without changing its width.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from rich.cells import cell_len
from rich.console import Console


@dataclass(frozen=True)
class GlyphSet:
    spark: str  # low to high
    bar: str  # one cell of a horizontal bar, empty to full
    ramp: str  # one cell of a picture, dark to bright
    density: str  # one cell of a scatter panel, empty to crowded
    halves: str  # a cell of two pixels: neither, lower, upper, both; "" where there are no half-blocks
    braille: bool  # scatter panels may use eight dots a cell
    frame: str  # top left, horizontal, top right, vertical, bottom left, bottom right
    whisker: str  # left end, line, point, right end, and the mark of "no change"
    lower: str  # the better direction of a metric
    higher: str
    neither: str
    arrow: str
    rule: str
    dot: str
    none: str
    ellipsis: str
    plus_minus: str
    infinity: str
    lambda_: str
    warning: str
    colour: bool = False  # fine enough for pictures; words are coloured by rich itself
    encoding: str = "utf-8"

    @property
    def alphabet(self) -> str:
        """Every character of the set."""
        texts = [value for value in vars(self).values() if isinstance(value, str)]
        return "".join(texts) + ("⣿" if self.braille else "")


UNICODE: Final = GlyphSet(
    spark="▁▂▃▄▅▆▇",  # without "█", which would run into the line above
    bar=" ▏▎▍▌▋▊▉█",
    ramp=" ░▒▓█",
    density=" ·:░▒▓█",
    halves=" ▄▀█",
    braille=True,
    frame="┌─┐│└┘",
    whisker="├─●┤│",
    lower="↓",
    higher="↑",
    neither="·",
    arrow="→",
    rule="─",
    dot="·",
    none="–",
    ellipsis="…",
    plus_minus="±",
    infinity="∞",
    lambda_="λ",
    warning="▲",
)

ASCII: Final = GlyphSet(
    spark="_.-=*#",
    bar=" -#",
    ramp=" .:-=+*#%@",
    density=" .:*#",
    halves="",
    braille=False,
    frame="+-+|++",
    whisker="|-o|:",
    lower="v",
    higher="^",
    neither="-",
    arrow="->",
    rule="-",
    dot="-",
    none="-",
    ellipsis="..",
    plus_minus="+-",
    infinity="inf",
    lambda_="lambda",
    warning="!",
    encoding="ascii",
)


def glyphs_for(console: Console) -> GlyphSet:
    """The richest set that the console's encoding and colours allow."""
    colour = console.color_system in ("256", "truecolor") and not console.no_color
    known = UNICODE if all(can_encode(c, console.encoding) for c in UNICODE.alphabet) else ASCII
    return replace(known, colour=colour, encoding=console.encoding)


def can_encode(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


# What NFKD does not take apart; each as wide as what it stands for.
_PLAIN: Final = dict(zip("–—−‘’“”·×→←…≤≥≈λ", "---''\"\".x><~<>~l", strict=True))


def encodable(text: str, encoding: str) -> str:
    """The same text, as wide, with nothing in it that the encoding or a terminal cannot take."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_encodable(c, encoding) for c in text)


def _encodable(character: str, encoding: str) -> str:
    # A control character or a lone surrogate in a name must not reach the terminal.
    if character.isprintable() and can_encode(character, encoding):
        return character
    plain = _PLAIN.get(character) or unicodedata.normalize("NFKD", character)[0]
    width = cell_len(character)
    if plain.isprintable() and cell_len(plain) == width and can_encode(plain, encoding):
        return plain
    return "?" * width
