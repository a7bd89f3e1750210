"""The editor over HTTP: one page, and what it asks for."""

import asyncio
import base64
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from torch import Tensor

from glow.apps.editor import files
from glow.apps.editor.bodies import TooLarge, TooSlow, read_body
from glow.apps.editor.guard import Guard
from glow.apps.editor.painter import Painter
from glow.apps.editor.sessions import Gone, Sessions
from glow.apps.editor.threads import use_fastest
from glow.apps.editor.turns import Busy, Turns
from glow.apps.editor.wishes import MAX_SIDE, Look, Uploaded, read_look
from glow.apps.pictures import UnreadableImage
from glow.apps.uploads import MAX_BYTES, BadRequest

STATIC = Path(__file__).with_name("static")
LOOK_BYTES = 16 * 2**10
FORGET_EVERY = 60.0  # seconds
FRAMES = 24  # of a morph, one way
FRAMES_AT_ONCE = 8  # so that who moves a slider need not wait for all
UPLOADS_AT_ONCE = 8  # in memory as they came
DECODINGS_AT_ONCE = 1  # a picture of 32 million pixels takes some hundred MB

STATUS: dict[type[Exception], int] = {
    BadRequest: 400,
    UnreadableImage: 400,
    TooSlow: 408,
    Gone: 410,
    TooLarge: 413,
    Busy: 429,
}


def create_app(painter: Painter, about: dict[str, Any], names: Collection[str]) -> Starlette:
    """The server; `about` is told to the page, `names` are what it may be called in requests."""
    editor = Editor(painter, about)
    routes = [
        Route("/api/about", editor.tell, methods=["GET"]),
        Route("/api/session", editor.open_session, methods=["POST"]),
        Route("/api/upload", editor.upload, methods=["POST"]),
        Route("/api/face", editor.face, methods=["POST"]),
        Route("/api/morph", editor.morph, methods=["POST"]),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, names=names)],
        exception_handlers=dict.fromkeys(STATUS, _say),
        lifespan=editor.living,
    )


class Editor:
    """What the page may ask for. A session is a header, so two tabs do not mix."""

    def __init__(self, painter: Painter, about: dict[str, Any]) -> None:
        self.painter, self.about = painter, about
        self.sessions, self.turns = Sessions(), Turns()
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._decodings = asyncio.Semaphore(DECODINGS_AT_ONCE)

    @asynccontextmanager
    async def living(self, app: Starlette) -> AsyncIterator[None]:
        """Inside, moves are fast, and uploads of sessions that are over leave the memory."""
        example = Look.model_validate({"base": self.about["examples"][0]})
        await self.turns.take(
            "", lambda: use_fastest(lambda: self.painter.draw(example, [0.0], {}))
        )

        async def forget() -> None:
            while True:
                await asyncio.sleep(FORGET_EVERY)
                self.sessions.forget()

        task = asyncio.create_task(forget())
        yield
        task.cancel()

    async def tell(self, request: Request) -> Response:
        """What the model is."""
        return JSONResponse(self.about)

    async def open_session(self, request: Request) -> Response:
        """The id that goes with all further requests."""
        return JSONResponse({"session": self.sessions.open()}, headers=NOT_STORED)

    async def upload(self, request: Request) -> Response:
        """Takes an image file, answers its key, what the model sees of it and what it costs."""
        session = self._session(request)
        label = request.query_params.get("label")
        async with self._uploads:
            file = await read_body(request, MAX_BYTES)
            async with self._decodings:
                levels = await run_in_threadpool(self.painter.levels, file)
        reading = await self.turns.take(session, lambda: self.painter.read(levels, label))
        key = self.sessions.keep(session, reading.encoded)
        picture = base64.b64encode(files.png(reading.pixels)).decode()
        answer = {"upload": key, "png": picture, "bits_per_dim": reading.bits_per_dim}
        return JSONResponse(answer, headers=NOT_STORED)

    async def face(self, request: Request) -> Response:
        """A look as PNG."""
        session, look = await self._look(request)
        pixels = await self._draw(session, look, [look.morph])
        return _picture(files.png(pixels[0], look.scale), "png")

    async def morph(self, request: Request) -> Response:
        """The way from one face to the other as GIF."""
        session, look = await self._look(request)
        points = torch.linspace(0.0, 1.0, FRAMES).split(FRAMES_AT_ONCE)
        parts = [await self._draw(session, look, part.tolist()) for part in points]
        moving = await run_in_threadpool(files.gif, torch.cat(parts), look.scale)
        return _picture(moving, "gif")

    async def _draw(self, session: str, look: Look, morphs: list[float]) -> Tensor:
        keys = [face.upload for face in (look.base, look.other) if isinstance(face, Uploaded)]
        found = {key: self.sessions.image(session, key) for key in keys}
        return await self.turns.take(session, lambda: self.painter.draw(look, morphs, found))

    async def _look(self, request: Request) -> tuple[str, Look]:
        session = self._session(request)
        look = read_look(await read_body(request, LOOK_BYTES))
        largest = max(1, MAX_SIDE // self.painter.config.image_size)
        if look.scale > largest:
            raise BadRequest(f"scale is {look.scale}, expected at most {largest}")
        return session, look

    def _session(self, request: Request) -> str:
        session = request.headers.get("x-session", "")
        self.sessions.check(session)
        return session


NOT_STORED = {"Cache-Control": "no-store"}


def _picture(content: bytes, kind: str) -> Response:
    return Response(content, media_type=f"image/{kind}", headers=NOT_STORED)


async def _say(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, STATUS[type(error)], headers=NOT_STORED)
