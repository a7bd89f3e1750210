"""The latents of uploaded images: per session, in bounded memory, forgotten after a while.

The oldest goes first: of a session's images, and of all sessions. The page keeps what it needs to
come back: it opens another session and sends its images again.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

MAX_SESSIONS = 1000
IMAGES_OF_A_SESSION = 16
MEMORY = 256 * 2**20  # bytes of all latents
EXPIRY = 30 * 60.0  # seconds since a session was last used


class Gone(LookupError):
    """What is asked for is not there any more, or never was."""


@dataclass(frozen=True)
class Encoded:
    """An image as its latents (D,), and its class for a model with classes."""

    latents: Tensor
    label: str | None


@dataclass
class _Session:
    used: float
    images: OrderedDict[str, Encoded] = field(default_factory=OrderedDict)


class Sessions:
    """Who uploaded what. Belongs to one thread.

    Args:
        memory: bytes of all latents.
        expiry: seconds that an idle session is kept.
        clock: seconds, for the expiry.
    """

    def __init__(
        self,
        *,
        memory: int = MEMORY,
        expiry: float = EXPIRY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory, self._expiry, self._clock = memory, expiry, clock
        self._sessions: OrderedDict[str, _Session] = OrderedDict()  # the last used is last

    def open(self) -> str:
        """The id of a new session, 128 random bits."""
        session = secrets.token_urlsafe(16)
        self._sessions[session] = _Session(self._clock())
        self.forget()
        return session

    def check(self, session: str) -> None:
        """Counts as a use; Gone where there is no such session."""
        self._use(session)

    def keep(self, session: str, image: Encoded) -> str:
        """The key of an image from now on."""
        images = self._use(session).images
        key = secrets.token_urlsafe(8)
        images[key] = image
        if len(images) > IMAGES_OF_A_SESSION:
            images.popitem(last=False)
        self.forget()
        return key

    def image(self, session: str, key: str) -> Encoded:
        """An image that this session keeps; Gone where it does not."""
        images = self._use(session).images
        if key not in images:
            raise Gone("this image is not here any more; upload it again")
        images.move_to_end(key)
        return images[key]

    def _use(self, session: str) -> _Session:
        self.forget()
        if session not in self._sessions:
            raise Gone("this session has ended; load the page again")
        self._sessions.move_to_end(session)
        self._sessions[session].used = self._clock()
        return self._sessions[session]

    def forget(self) -> None:
        """Drops sessions, the longest unused first, until all bounds hold."""
        oldest = self._clock() - self._expiry
        while self._sessions:
            first = next(iter(self._sessions.values()))
            if (
                first.used >= oldest
                and len(self._sessions) <= MAX_SESSIONS
                and self._bytes() <= self._memory
            ):
                return
            self._sessions.popitem(last=False)

    def _bytes(self) -> int:
        images = (
            image for session in self._sessions.values() for image in session.images.values()
        )
        return sum(image.latents.nbytes for image in images)
