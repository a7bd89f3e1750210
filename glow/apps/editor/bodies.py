"""What a request carries, read up to a bound and within a time."""

import asyncio

from starlette.requests import Request

SECONDS = 30.0  # to send it


class TooLarge(ValueError):
    """More came than is taken."""


class TooSlow(TimeoutError):
    """It did not come in time."""


async def read_body(request: Request, most: int) -> bytes:
    """The body; no more than `most` bytes are ever held.

    Raises:
        TooLarge: it is, or is announced to be, larger.
        TooSlow: it took longer than half a minute.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most:
        raise TooLarge(f"expected at most {most:,} bytes, came {announced}")
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise TooLarge(f"expected at most {most:,} bytes, came more")
    except TimeoutError:
        raise TooSlow(f"expected the file within {SECONDS:g} seconds; send it again") from None
    return bytes(body)
