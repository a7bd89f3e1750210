"""Servers that shards or outputs lie on, as processes of their own that can be stopped."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from waiting import wait_for

KEYS = ("testing", "testing secret")
BUCKET = "models"


@dataclass
class Server:
    """A Python program that listens on 127.0.0.1.

    Attributes:
        log: of the server, kept when it is started again.
        program: and its arguments but for the port, which comes last.
    """

    log: Path
    program: list[str]
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """On the port of the last time, if there was one; returns when it listens."""
        begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-u", *self.program, str(self.port)],
                stdout=stream,
                stderr=stream,
            )
        process, said = self._process, re.compile(r"127\.0\.0\.1(?::| port )(\d+)")

        def listens() -> object:
            return said.search(self.log.read_text()[begins:]) or process.poll() is not None

        wait_for(listens, "the server listens")
        found = said.search(self.log.read_text()[begins:])
        assert found, self.log.read_text()
        self.port = int(found[1])

    def stop(self) -> None:
        """From now on connections are refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


def web_server(folder: Path, log: Path) -> Server:
    """Serves the files of a folder."""
    return Server(log, ["-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder)])


def s3_server(log: Path) -> Server:
    """An S3 server, whose buckets end with it."""
    return Server(log, ["-m", "moto.server", "-H", "127.0.0.1", "-p"])


def full_s3_server(shards: Path, log: Path) -> Server:
    """One whose bucket has the shards of a folder, below `shards/`, whenever it answers."""
    return Server(log, [str(Path(__file__).with_name("full_bucket.py")), str(shards)])


@contextmanager
def bucket(log: Path) -> Iterator[str]:
    """The URL of an S3 server with one empty bucket, BUCKET."""
    server = s3_server(log)
    try:
        server.start()
        s3_client(server.url).create_bucket(Bucket=BUCKET)
        yield server.url
    finally:
        server.stop()


def s3_client(url: str) -> Any:  # noqa: ANN401 - boto3 is untyped
    """A client of an S3 server that is neither DVC's nor ours."""
    key, secret = KEYS
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def upload(url: str, folder: Path, prefix: str) -> None:
    """Shards as `aws s3 sync` does, into a new bucket; everybody may read them."""
    client = s3_client(url)
    client.create_bucket(Bucket=BUCKET)
    for file in folder.rglob("*.tar"):
        key = f"{prefix}/{file.relative_to(folder)}"
        client.upload_file(str(file), BUCKET, key, ExtraArgs={"ACL": "public-read"})


def without_account(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A machine that has no AWS credentials, and no network to ask for them."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
