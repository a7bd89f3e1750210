"""Lossless coding with a trained flow: the proof that its bits per dimension are real."""

from glow.apps.lossless.codec import Coded, WrongImages, code, decode
from glow.apps.lossless.file import CodedFile, model_hash, read_coded, write_coded
from glow.apps.lossless.images import find_images, read_levels, write_images

__all__ = [
    "Coded",
    "CodedFile",
    "WrongImages",
    "code",
    "decode",
    "find_images",
    "model_hash",
    "read_coded",
    "read_levels",
    "write_coded",
    "write_images",
]
