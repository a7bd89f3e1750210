"""What commands say: text, whatever is in the names of files, on whatever terminal."""

import sys
import unicodedata

import typer


def say(line: str, *, err: bool = False) -> None:
    """Prints it, what the terminal's encoding lacks escaped."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    typer.echo(printable(line).encode(encoding, "backslashreplace").decode(encoding), err=err)


def printable(text: str) -> str:
    r"""The text with control characters and bytes that are no UTF-8 escaped: `caf\xe9.png`."""
    return "".join(_escaped(c) if unicodedata.category(c)[0] == "C" else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python has bytes of file names that are no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
