"""A real S3 server on this machine, and a client that is not the one under test."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3  # type: ignore[import-untyped]
from waiting import wait_for

KEYS = ("testing", "testing secret")


@contextmanager
def s3_server(log: Path, bucket: str) -> Iterator[str]:
    """The URL of a server with one empty bucket."""
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=stream,
            stderr=stream,
        )
    try:
        running = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
        wait_for(
            lambda: running.search(log.read_text()) or server.poll() is not None,
            "the S3 server listens",
        )
        found = running.search(log.read_text())
        assert found, log.read_text()
        client(found[1]).create_bucket(Bucket=bucket)
        yield found[1]
    finally:
        server.terminate()
        server.wait(20)


def client(url: str) -> "boto3.client":
    """A client of the server."""
    key, secret = KEYS
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
