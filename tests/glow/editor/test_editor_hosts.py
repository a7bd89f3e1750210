"""Who may ask the editor: its own page, under its own names; headers may hold anything."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from asking import Editor, running
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Message
from typer.testing import CliRunner

from glow.apps.cli import app
from glow.apps.editor.guard import Guard
from glow.apps.editor.hosts import host_of, own_names

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Host": "rebound.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_requests_of_other_pages_are_refused(editor: Editor, headers: dict[str, str]) -> None:
    for answer in (
        editor.http.post("/api/session", headers=headers),
        editor.http.get("/", headers=headers),
    ):
        assert answer.status_code == 403
        assert "error" in answer.json()


def test_links_of_other_pages_lead_to_it(editor: Editor) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert editor.http.get("/", headers=headers).status_code == 200
    assert editor.http.post("/api/session", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "[::1"},
        {"Host": "::1"},
        {"Host": "[::1]]:80"},
        {"Host": "localhost:port"},
        {"Host": "localhost/"},
        {"Host": "rebound.example@localhost"},
        {"Host": "local host"},
        {"Host": ""},
        {"Host": "\N{LATIN SMALL LETTER E WITH ACUTE}[".encode("latin-1")},
        {"Origin": "http://["},
        {"Origin": "http://[::1"},
        {"Origin": "[::1]"},
        {"Origin": ""},
    ],
)
def test_headers_that_are_malformed_are_a_bad_request(
    editor: Editor, headers: dict[str, str | bytes]
) -> None:
    answer = editor.http.get("/", headers=headers)
    assert answer.status_code == 400


def test_a_socket_does_not_come_past_the_guard(editor: Editor) -> None:
    """The package websockets, which others bring, makes the server speak it."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    stranger = editor.http.get("/", headers={**upgrade, "Origin": "http://elsewhere.example"})
    assert stranger.status_code == 403
    assert editor.http.get("/", headers=upgrade).status_code == 200


@pytest.fixture(scope="module")
def public(model: Path) -> Iterator[str]:
    """The address of one that listens on all addresses."""
    with running("--model", model, "--host", "0.0.0.0", "--name", "Faces.Example.org") as address:
        yield address.replace("0.0.0.0", "127.0.0.1")


def test_on_all_addresses_it_goes_by_its_own_names(public: str) -> None:
    port = public.rpartition(":")[2]
    own = socket.gethostname()
    for name in ("faces.example.org", "FACES.example.org.", "localhost", own, f"{own}.local"):
        own_page = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        assert httpx.post(f"{public}/api/session", headers=own_page).status_code == 200
    for address in ("127.0.0.1", "192.0.2.7", "[::1]", "[2001:db8::7]"):
        assert httpx.get(public, headers={"Host": f"{address}:{port}"}).status_code == 200
    for name in ("rebound.example", "example.org", "localhost.rebound.example", "2130706433"):
        answer = httpx.get(public, headers={"Host": f"{name}:{port}"})
        assert answer.status_code == 403
        assert "`--name` adds one" in answer.json()["error"]


def status(*headers: tuple[bytes, bytes]) -> int:
    """What a guard of nothing answers to a request with just these headers."""
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    scope = {"type": "http", "method": "GET", "path": "/", "headers": list(headers)}
    nothing = PlainTextResponse("")
    asyncio.run(Guard(nothing, own_names("127.0.0.1"))(scope, receive, send))
    return statuses[0]


def test_one_host_is_expected() -> None:
    host = (b"host", b"127.0.0.1")
    assert status(host) == 200
    assert status() == status(host, (b"host", b"rebound.example")) == 400
    assert status(host, (b"origin", b"http://127.0.0.1"), (b"origin", b"http://a.b")) == 403


AUTHORITIES = st.binary(max_size=30) | st.from_regex(rb"\[?[0-9a-f:.%]{0,12}\]?(:[0-9]{0,6})?")


@given(host=AUTHORITIES, origin=AUTHORITIES.map(lambda whose: b"http://" + whose))
def test_no_header_is_too_much(host: bytes, origin: bytes) -> None:
    assert status((b"host", host), (b"origin", origin)) in (200, 400, 403)
    assert status((b"host", host)) in (200, 400, 403)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Faces.Example.org", "faces.example.org"),
        ("localhost.:80", "localhost"),
        ("[::1]:7860", "::1"),
        ("127.0.0.1:7860", "127.0.0.1"),
        ("http://localhost", None),
        ("localhost:", None),
    ],
)
def test_a_host_is_read_as_browsers_write_it(authority: str, host: str | None) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize("name", ["http://faces.example.org", "", "a..b", "x" * 64, "[::1"])
def test_a_name_that_no_browser_sends_is_refused(name: str, model: Path) -> None:
    refused = CliRunner().invoke(app, ["editor", "--model", str(model), "--name", name])
    assert refused.exit_code == 2
    assert f"--name is {name}, expected a host name" in refused.output
