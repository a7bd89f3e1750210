"""The file of coded images: a magic word, a JSON header, then 32-bit words, little-endian."""

import json
import reprlib
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glow.apps.lossless.codec import MAX_INITIAL_WORDS, Coded
from glow.apps.outputs import check_picture_names, write
from glow.apps.uploads import BadRequest

MAGIC = b"GLOWCODE1\n"
MAX_HEADER = 1 << 26
MAX_IMAGES, MAX_BATCH, MAX_THREADS = 10_000_000, 100_000, 4096  # `codec.check` has closer ones
MAX_TEXT = 200
COUNTS = {  # smallest and largest of what the header may say
    "n_images": (1, MAX_IMAGES),
    "batch_size": (1, MAX_BATCH),
    "n_initial": (1, MAX_INITIAL_WORDS),
    "n_untouched": (0, MAX_INITIAL_WORDS),
    "seed": (0, 1 << 63),
    "threads": (1, MAX_THREADS),
}


@dataclass(frozen=True)
class CodedFile:
    """Coded images with their names, and the weights' hash and torch that coded them."""

    coded: Coded
    names: list[str]
    model: str
    torch_version: str


def write_coded(file: Path, coded: Coded, names: list[str], model: str) -> int:
    """Writes it whole or not at all; returns its size in bytes.

    Raises:
        ValueError: `read_coded` would refuse it.
    """
    numbers = asdict(coded)
    words = numbers.pop("words")
    header = {**numbers, "names": names, "model": model, "torch_version": torch.__version__}
    described = json.dumps(header).encode()
    content = MAGIC + struct.pack("<I", len(described)) + described + words.astype("<u4").tobytes()
    _parsed(file, content)
    write(file, content)
    return len(content)


def read_coded(file: Path) -> CodedFile:
    """Reads what `write_coded` wrote.

    Raises:
        ValueError: the file is none of those, or damaged; what is wrong with it.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    return _parsed(file, content)


def _parsed(file: Path, content: bytes) -> CodedFile:
    start = len(MAGIC) + 4
    if not content.startswith(MAGIC) or len(content) < start:
        raise ValueError(f"{file} is no file of `python -m glow compress`")
    (length,) = struct.unpack("<I", content[len(MAGIC) : start])
    if length > MAX_HEADER or start + length > len(content):
        raise ValueError(f"{file} is cut short or damaged: its header is not whole")
    try:
        header: Any = json.loads(content[start : start + length])
    except (ValueError, RecursionError):  # no JSON, no UTF-8, numbers of thousands of digits
        raise ValueError(f"{file} is damaged: its header is not JSON") from None
    body = content[start + length :]
    if len(body) % 4:
        raise ValueError(f"{file} is cut short: its words are not whole")
    _check(file, header)
    words = np.frombuffer(body, "<u4").astype(np.uint32)
    if not len(words) or words[-1] == 0:
        raise ValueError(f"{file} is cut short or damaged: its last word is missing")
    coded = Coded(words, digest=header["digest"], **{name: header[name] for name in COUNTS})
    return CodedFile(coded, header["names"], header["model"], header["torch_version"])


def _damaged(file: Path, what: str) -> ValueError:
    return ValueError(f"{file} is damaged: {what}")


def _check(file: Path, header: Any) -> None:  # noqa: ANN401 - whatever JSON a file holds
    if not isinstance(header, dict):
        raise _damaged(file, "its header is no table")
    for name, (least, most) in COUNTS.items():
        value = header.get(name)
        if type(value) is not int or not least <= value <= most:
            raise _damaged(file, f"{name} is {reprlib.repr(value)}, expected {least} to {most}")
    for name in ("digest", "model", "torch_version"):
        value = header.get(name)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise _damaged(file, f"{name} is {reprlib.repr(value)}, expected a short text")
    names = header.get("names")
    if not isinstance(names, list) or len(names) != header["n_images"]:
        raise _damaged(file, f"it does not name its {header['n_images']} images")
    if not all(isinstance(name, str) for name in names):
        raise _damaged(file, "the name of an image is not text")
    try:
        check_picture_names(names)
    except BadRequest as error:
        raise _damaged(file, str(error)) from None
