"""How a command says that it cannot do what it was asked."""

from typing import Any

import typer
from typer.core import TyperGroup

from glow.apps.pictures import UnreadableImage
from glow.apps.saying import say
from glow.apps.uploads import BadRequest


def complain(message: str) -> None:
    """Says one line of what is wrong."""
    say(f"error: {message}", err=True)


def fail(message: str, code: int) -> typer.Exit:
    """Says one line of what is wrong; to be raised."""
    complain(message)
    return typer.Exit(code)


class Commands(TyperGroup):
    """Commands whose errors are one line: exit code 2 for bad input, 1 for what the disk refuses.

    Everything else keeps its traceback, since it is a bug of ours.
    """

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's Context has no public name
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (BadRequest, UnreadableImage) as error:
            raise fail(str(error), 2) from None
        except OSError as error:
            raise fail(str(error), 1) from None
