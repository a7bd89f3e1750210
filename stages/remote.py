"""Where shards lie that are not in data/shards: `s3://` or `https://`, fetched whole, by fsspec.

That is a matter of the machine (`GLOW_SHARDS`), not of params.yaml. A server that does not answer
is waited for; one that answers that there is no such shard, or that it is not for us, is an error.
"""

import errno
import os
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.asyn import sync

from stages.environment import number
from stages.errors import InputError, StageError

VARIABLE = "GLOW_SHARDS"
RETRY_SECONDS = 300  # below the ten minutes that other processes of a training wait for this one
CONNECT_SECONDS, READ_SECONDS = 10, 20  # without an answer, without a byte: an attempt has failed
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts, doubled each time
QUIET, SAY_AGAIN = 1.0, 60.0  # seconds: a broken connection is no news
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE)
TEMPORARY = (408, 425, 429)  # of the statuses 400 to 499


class Outage(StageError):
    """A server did not answer for as long as it is waited for."""


@dataclass
class Remote:
    """A bucket's prefix or a folder of a web server, with the splits' folders of shards below it.

    Attributes:
        url: of the folder, without a slash at its end.
        patience: seconds for which a shard is tried again.
    """

    url: str
    patience: float = RETRY_SECONDS
    _files: tuple[int, Any] | None = field(default=None, init=False, repr=False)

    @classmethod
    def wanted(cls) -> "Remote | None":
        """Of GLOW_SHARDS; None where it is not set.

        Raises:
            InputError: it is no URL of a kind that can be fetched from.
        """
        url = os.environ.get(VARIABLE, "").rstrip("/")
        if not url:
            return None
        parts = urlsplit(url)
        known = parts.scheme in ("s3", "http", "https") and parts.netloc
        if not known or parts.query or parts.fragment:
            raise InputError(
                f"{VARIABLE} is {_public(url)!r}, expected s3://BUCKET/PREFIX or "
                "https://HOST/FOLDER, without a query"
            )
        patience = number("GLOW_SHARD_RETRY_S", "a number of seconds")
        return cls(url, RETRY_SECONDS if patience is None else patience)

    def __str__(self) -> str:
        return _public(self.url)

    def fetch(self, name: str, into: Path, *, wait: bool = True) -> None:
        """Writes the file below the URL to `into`; waits for a server that does not answer.

        Raises:
            InputError: the server has no such file, or refuses it.
            Outage: no attempt succeeded while it was waited; at once, without `wait`.
            OSError: the disk is full.
        """
        began, pause, said = time.monotonic(), FIRST_PAUSE, -SAY_AGAIN
        while True:
            try:
                self._attempt(name, into)
            except (InputError, StageError):
                raise
            except OSError as error:
                if error.errno in OF_THE_DISK:
                    raise
                why = self._words(error)
            except Exception as error:  # of aiohttp, of botocore: kinds that fsspec does not hide
                why = self._words(error)
            else:
                break
            passed = time.monotonic() - began
            left = self.patience - passed
            if not wait or left <= 0:
                raise Outage(
                    f"shard {self}/{name} could not be fetched for {passed:.0f} s "
                    f"(GLOW_SHARD_RETRY_S): {why}; the same command tries again, a training from "
                    "its checkpoint"
                )
            if passed >= QUIET and passed - said >= SAY_AGAIN:
                _say(f"waits for shard {self}/{name}: {why}; tries for another {left:.0f} s")
                said = passed
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
        if said >= 0:
            _say(f"goes on: shard {self}/{name} came after {time.monotonic() - began:.0f} s")

    def close(self) -> None:
        """Ends connections, which a process must not share with those that it forks."""
        if self._files is not None and self._files[0] == os.getpid():
            files = self._files[1]
            sync(files.loop, _end_session, files)
        self._files = None

    def _attempt(self, name: str, into: Path) -> None:
        """Fetches once; InputError where another time would be no better."""
        there = f"{self}/{name}"
        try:
            self._connected().get_file(f"{self.url}/{name}", str(into))
        except FileNotFoundError:
            raise InputError(
                f"shard {name} is not at {there} (404), expected all of data/shards there; "
                "upload it (docs/streaming.md)"
            ) from None
        except PermissionError as error:
            raise InputError(
                f"shard {there} is refused: {self._words(error)}; expected credentials for it"
            ) from None
        except ssl.CertificateError as error:
            raise InputError(
                f"shard {there}: no valid certificate: {self._words(error)}"
            ) from None
        except Exception as error:
            status = getattr(error, "status", None)
            if isinstance(status, int) and 400 <= status < 500 and status not in TEMPORARY:
                raise InputError(
                    f"shard {there} is refused with status {status}; see {VARIABLE}"
                ) from None
            raise

    def _words(self, error: Exception) -> str:
        """In one line, without a password; some errors of aiohttp have no words."""
        said = " ".join(str(error).split()) or type(error).__name__
        return said.replace(self.url, str(self))

    def _connected(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        """The file system of this process; connections of a process are not its children's."""
        if self._files is None or self._files[0] != os.getpid():
            make = _s3 if self.url.startswith("s3:") else _http
            self._files = os.getpid(), make()
        return self._files[1]


def _s3() -> Any:  # noqa: ANN401
    """With the credentials that AWS's tools find, else without; AWS_ENDPOINT_URL as with these."""
    try:
        import botocore.session  # type: ignore[import-untyped]  # has no types

        anonymous = botocore.session.get_session().get_credentials() is None
        once = {"total_max_attempts": 1}  # it is we who try again
        timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        files = fsspec.filesystem(
            "s3",
            anon=anonymous,
            config_kwargs={**timeouts, "retries": once},
            skip_instance_cache=True,
        )
    except ImportError as error:
        raise InputError(
            f"{VARIABLE} is an s3:// URL, which needs s3fs ({error}); "
            "`pip install -c constraints.txt -e '.[s3]'` brings it"
        ) from None
    files.retries = 1
    return files


def _http() -> Any:  # noqa: ANN401
    import aiohttp

    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    options = {"timeout": timeout, "trust_env": True}  # proxies
    return fsspec.filesystem("http", client_kwargs=options, skip_instance_cache=True)


async def _end_session(files: Any) -> None:  # noqa: ANN401
    await (await files.set_session()).close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _public(url: str) -> str:
    """Without a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
