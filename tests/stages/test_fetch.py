"""One file from a server: when it is asked again, when not, and what is said of it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stages.errors import InputError
from stages.remote import Remote


@pytest.fixture
def answers() -> Iterator[list[int]]:
    """What a server answers, one status after another; its port comes first."""
    wanted: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(wanted.pop(0))
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"body")

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        wanted.append(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield wanted
        server.shutdown()
        thread.join()


def test_an_overloaded_server_is_asked_again(answers: list[int], tmp_path: Path) -> None:
    there = Remote(f"http://127.0.0.1:{answers.pop()}", 60)
    answers += [503, 429, 200]
    there.fetch("a.tar", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"body"
    there.close()


@pytest.mark.parametrize("status", [401, 403, 410])
def test_a_server_that_refuses_is_not_asked_again(
    answers: list[int], tmp_path: Path, status: int
) -> None:
    there = Remote(f"http://127.0.0.1:{answers.pop()}", 60)
    answers.append(status)
    with pytest.raises(
        InputError, match=rf"^shard http\S+/a.tar is refused with status {status};"
    ):
        there.fetch("a.tar", tmp_path / "a")
    there.close()


def test_a_password_in_the_url_is_not_said() -> None:
    assert str(Remote("https://me:secret@host/shards")) == "https://host/shards"
