"""Reads the pickles that data sets were published as, without running anything they ask for.

A pickle is a program: it may call whatever can be imported. The files of CIFAR and ImageNet need
numpy's arrays alone, and even these are rebuilt here from their bytes, so that no file of a
stranger reaches numpy's own, unchecked, way of restoring arrays.
"""

import pickle
import re
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = re.compile(r"[iuf][1248]")
BYTE_ORDERS = {"<", ">", "|", "="}


class UnsafePickle(ValueError):
    """The pickle asks for something else than arrays, and was not given it, or holds no dict."""


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code, self.order = _text(code), "="
        if not NUMBERS.fullmatch(self.code):
            raise ValueError(f"an array of type {self.code}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])
        if self.order not in BYTE_ORDERS:
            raise ValueError(f"an array with byte order {self.order}")


class _Array:
    """Stands in for numpy.ndarray, and for the function that makes an empty one."""

    values: NDArray[Any] | None = None

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        values = np.frombuffer(content, np.dtype(kind.order + kind.code))
        self.values = values.reshape(shape, order="F" if fortran else "C")


KNOWN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        """Only stand-ins of our own, never what was asked for."""
        try:
            return KNOWN[module, name]
        except KeyError:
            raise UnsafePickle(
                f"a pickle that asks for {module}.{name}, which no official file does and which "
                "may run a program; nothing of it was run"
            ) from None


def load_arrays(stream: IO[bytes]) -> dict[str, Any]:
    """A pickled dict of arrays and lists, of Python 2 or 3.

    Raises:
        UnsafePickle: it asks for anything else, or is no dict.
        ValueError: it is damaged.
    """
    try:
        content = _Unpickler(stream, fix_imports=False, encoding="bytes").load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged or crafted pickle can raise anything
        raise ValueError(f"no whole pickle: {error}") from None
    if not isinstance(content, dict):
        raise UnsafePickle(f"a pickled {type(content).__name__}, not a dict")
    return {
        _text(key): value.values if isinstance(value, _Array) else value
        for key, value in content.items()
    }


def _text(value: str | bytes) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
