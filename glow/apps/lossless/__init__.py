"""Lossless coding with a trained flow: the proof that its bits per dimension are real."""

from glow.apps.lossless.codec import Coded, WrongImages, code, decode
from glow.apps.lossless.file import CodedFile, read_coded, write_coded
from glow.apps.lossless.images import exact_levels

__all__ = [
    "Coded",
    "CodedFile",
    "WrongImages",
    "code",
    "decode",
    "exact_levels",
    "read_coded",
    "write_coded",
]
