"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_atomically(file: Path, content: bytes) -> None:
    """The file has all of the content or what it had before, whatever happens meanwhile."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
