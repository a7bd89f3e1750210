"""Names from data, which may be any text, as names of files and keys."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from hashlib import sha256

AT_MOST = 120  # bytes, so that there is room for a suffix within the 255 that file systems allow
DIGITS = 10  # of the hash, in hexadecimal
PLAIN = re.compile(r"[A-Za-z0-9_]+")
HASHED = re.compile(rf".*-[0-9a-f]{{{DIGITS}}}", re.DOTALL)
DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # no files on Windows


def file_names(names: Collection[str]) -> dict[str, str]:
    """By name, what to call its file: neither path nor device, no two alike whatever their case.

    A plain name, of ASCII letters, digits and `_`, stays as it is; of any other, and of two that
    differ in case alone, what can be read is kept, and a hash tells it from the rest. A plain name
    has no hyphen, so what follows one (`Smiling-before.png`) makes it no other name's.

    Args:
        names: different from each other.
    """
    uses = Counter(map(str.casefold, names))
    return {
        name: name
        if PLAIN.fullmatch(name)
        and len(name) <= AT_MOST
        and uses[name.casefold()] == 1
        and not DEVICES.fullmatch(name.casefold())
        else hashed(name)
        for name in names
    }


def hashed(text: str, *, at_most: int = AT_MOST, ascii_only: bool = False) -> str:
    """What can be read of a text, and its hash: of letters, digits, `_`, `-` and `.` alone.

    Args:
        text: any, in Unicode.
        at_most: bytes in UTF-8.
        ascii_only: whether letters of other alphabets are left out.
    """
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    letters = re.ASCII if ascii_only else re.UNICODE
    readable = re.sub(r"[^\w.-]+|^[.-]+", "_", unicodedata.normalize("NFC", text), flags=letters)
    start = readable.encode()[: at_most - DIGITS - 1].decode(errors="ignore")
    return f"{start or '_'}-{digest}"


def is_hashed(text: str) -> bool:
    """Whether it looks as `hashed` makes them."""
    return HASHED.fullmatch(text) is not None
