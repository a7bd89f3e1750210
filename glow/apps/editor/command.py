"""`python -m glow editor`: the editor in the browser."""

import socket
from pathlib import Path
from typing import Annotated

import typer

from glow.apps.editor.hosts import host_of, own_names
from glow.apps.errors import fail
from glow.apps.extras import brought_by
from glow.apps.fetch import folder_of
from glow.apps.models import REMEDY, TRAINED, Model
from glow.apps.saying import say
from glow.apps.uploads import BadRequest


def editor(
    *,
    model: Model = TRAINED,
    vectors: Annotated[
        Path | None, typer.Option(help="attribute vectors; by default beside the model")
    ] = None,
    evaluation: Annotated[Path, typer.Option(help="for the model's bits per dimension")] = Path(
        "results/evaluate.json"
    ),
    dataset: Annotated[Path, typer.Option(help="for the credit of the images")] = Path(
        "data/shards/dataset.json"
    ),
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 7860,
    name: Annotated[
        list[str] | None,
        typer.Option(help="one more host name by which it is reached; may be repeated"),
    ] = None,
) -> None:
    """Edit faces in the browser: sliders, morphs, uploads.

    Needs the extra `editor`. Anyone who reaches the address may use it: there is no password.

    Example: python -m glow editor --model models/glow --port 7860
    """
    try:
        import uvicorn

        from glow.apps.editor.server import create_app
    except ModuleNotFoundError as error:
        raise fail(f"the editor needs {error.name}; {brought_by('editor')}", 2) from None
    from glow.apps.actions import Actions
    from glow.apps.editor.about import about
    from glow.apps.editor.painter import Painter

    names = own_names(host) | {_name(text) for text in name or []}
    folder = folder_of(model)
    try:
        painter = Painter(Actions.load(folder, vectors=vectors))
        weights, attributes = painter.actions.weights, list(painter.actions.vectors)
        facts = about(folder, painter.config, weights, attributes, evaluation, dataset)
    except ValueError as error:
        raise fail(f"{error}; {REMEDY}", 2) from None
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    say(f"The editor is at http://{shown}:{listening.getsockname()[1]} (Ctrl+C ends it)")
    settings = uvicorn.Config(
        create_app(painter, facts, names),
        log_level="warning",
        limit_concurrency=256,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        server_header=False,
        ws="none",  # where websockets is installed, it would come past the guard
    )
    uvicorn.Server(settings).run(sockets=[listening])


def _name(text: str) -> str:
    """As browsers write it in the header Host."""
    try:
        if host := host_of(text):
            return host.encode("idna").decode()
    except UnicodeError:
        pass
    raise BadRequest(f"--name is {text}, expected a host name, as faces.example.org")


def _listen(host: str, port: int) -> socket.socket:
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio sends small answers at once on sockets that say TCP; else each waits for 40 ms
        listening = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # who comes before the first answer can be given waits for it
    except OSError as error:
        raise fail(f"cannot listen on {host}:{port}: {error.strerror}; try --port 0", 2) from None
    return listening
