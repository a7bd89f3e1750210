"""Which registered version is the champion: the one that the alias `champion` points to.

A new version takes the alias only where that is plainly right: there is no champion, or it codes
the validation images of the same data set in fewer bits. Else the champion stays, and a line
says why and how to move the alias by hand.
"""

import math
from collections.abc import Mapping

DATA, BITS = "glow.data", "glow.valid_bits_per_dim"  # tags of a version
BY_HAND = "python -m stages.tracking champion"


def decide(
    version: str, tags: Mapping[str, str], champion: str | None, of_champion: Mapping[str, str]
) -> tuple[bool, str]:
    """Whether a version becomes the champion, and a line about it.

    Args:
        version: the new one.
        tags: its checksum of the data and its valid bits/dim.
        champion: the present one, if there is one.
        of_champion: its tags.
    """
    bits, before = _bits(tags), _bits(of_champion)
    if champion is None:
        return True, f"glow version {version} is the champion, as the first one"
    stays = f"glow version {version} is registered, and version {champion} stays the champion"
    by_hand = f"`{BY_HAND} {version}` makes this one it"
    if not tags.get(DATA) or tags[DATA] != of_champion.get(DATA):
        return False, f"{stays}, since they are of different data; {by_hand}"
    if math.isnan(bits) or bits >= before:
        worse = f"{bits:.4f} valid bits/dim are not fewer than {before:.4f}"
        return False, f"{stays}: {worse} ({bits - before:+.4f}); {by_hand}"
    fewer = f"{bits:.4f} valid bits/dim instead of {before:.4f}"
    return True, f"glow version {version} is the champion: {fewer} of version {champion}"


def _bits(tags: Mapping[str, str]) -> float:
    try:
        return float(tags.get(BITS, "nan"))
    except ValueError:
        return math.nan
