"""Fonts of the system for letters that matplotlib's own lacks."""

import sys
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

LESS_PLAIN = ("serif", "mono", "bold", "italic", "oblique", "black", "light", "thin", "condensed")


@cache
def families_with(letters: frozenset[str]) -> tuple[str, ...]:
    """Families that have, together, the letters that the default one lacks; plain ones first.

    What none has is drawn as boxes, and one line says so.
    """
    missing = {letter for letter in letters if letter.isprintable()}
    missing -= _letters(font_manager.findfont(font_manager.FontProperties()), missing)
    families: list[str] = []
    for file in sorted(font_manager.findSystemFonts(), key=_plainness) if missing else ():
        if found := _letters(file, missing):
            font_manager.fontManager.addfont(file)  # it may be newer than matplotlib's list
            families.append(FT2Font(file).family_name)
            missing -= found
    if missing:
        shown = "".join(sorted(missing)[:20])
        print(
            f"warning: no font has {shown}, so pictures show boxes; Debian's fonts-noto-cjk has "
            "Chinese, Japanese and Korean, fonts-noto-core most other scripts",
            file=sys.stderr,
            flush=True,
        )
    return tuple(families)


def _letters(file: str, wanted: set[str]) -> set[str]:
    """Those that a font has and matplotlib can draw."""
    if not wanted:
        return set()
    try:
        font = FT2Font(file)
        known = font.get_charmap()
        found = {letter for letter in wanted if ord(letter) in known}
        if found:
            font.set_size(10.0, 100.0)  # refused by fonts of bitmaps, such as emoji in colour
            font.load_char(ord(min(found)))
    except (OSError, RuntimeError):
        return set()
    return found


def _plainness(file: str) -> tuple[int, str]:
    name = Path(file).stem.lower()
    return sum(word in name for word in LESS_PLAIN), name
