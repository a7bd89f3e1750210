"""A client of the editor, as its page is one."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]


class Editor:
    """One session with a running editor."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.http = httpx.Client(base_url=address, timeout=30.0)
        self.session = self.http.post("/api/session").json()["session"]

    def another(self) -> "Editor":
        """A new session with the same server."""
        return Editor(self.address)

    def ask(self, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401
        """Posts as this session."""
        return self.http.post(f"/api/{path}", headers={"X-Session": self.session}, **request)

    def upload(self, file: bytes) -> httpx.Response:
        """Posts an image file."""
        return self.ask("upload", content=file)

    def face(self, base: dict[str, Any], **look: Any) -> NDArray[np.uint8]:  # noqa: ANN401
        """The pixels of a look, (H, W, C)."""
        answer = self.ask("face", json={"base": base, **look})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(answer.content)))


@contextmanager
def running(*options: object) -> Iterator[str]:
    """The address of an editor in a process of its own, with these options."""
    command = [sys.executable, "-m", "glow", "editor", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, f"the editor did not start: {line!r}"
        try:
            yield line.split()[4]
            assert process.poll() is None, "the editor ended by itself"
        finally:
            process.terminate()
            process.wait(timeout=20)


def drawn(seed: int, temperature: float = 0.7) -> dict[str, Any]:
    return {"seed": seed, "temperature": temperature}


def picture(seed: int = 0, side: int = 16) -> bytes:
    """A PNG of noise of 5 bits."""
    pixels = np.random.default_rng(seed).integers(0, 32, (side, side, 3), dtype=np.uint8) * 8
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels_of(file: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(file)))
