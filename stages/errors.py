"""The two ways in which a stage ends badly, and how a command reports them."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from glow.parallel import LostProcess, disconnect

ERRORS = "GLOW_ERRORS"  # set in processes that launch.py started: the folder for their first error
FIRST, FOLLOWING = "first.json", "following.json"


class InputError(ValueError):
    """What the user gave cannot be used: params, images, an attribute file. Exit code 2."""


class StageError(RuntimeError):
    """The stage failed on good input: a loss that is not finite, a full disk. Exit code 1."""


def run(main: Callable[[], None]) -> None:
    """Runs a command and turns the errors meant for users into lines on stderr.

    Everything else keeps its traceback, since it is a bug of ours. `GLOW_DEBUG=1` keeps all.
    """
    try:
        main()
    except (InputError, StageError, LostProcess, OSError) as error:
        if os.environ.get("GLOW_DEBUG"):
            raise
        code = 2 if isinstance(error, InputError) else 1
        folder = os.environ.get(ERRORS)
        if folder is None or not _leave(Path(folder), error, code):
            show(str(error))
        sys.exit(code)
    finally:
        # the process ends here, and a signal to one that is ending would print a traceback
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        disconnect()  # not before the error was said: the others notice it, and only follow


def show(message: str) -> None:
    """The message on stderr, each of its lines as an error."""
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)


def _leave(folder: Path, error: Exception, code: int) -> bool:
    """Leaves the error for the launcher, which shows one for all processes; whether that worked.

    A process that has lost another one only follows: the cause is what that one says.
    """
    name = FOLLOWING if isinstance(error, LostProcess) else FIRST
    try:
        with (folder / name).open("x", encoding="utf-8") as stream:
            json.dump({"code": code, "message": str(error)}, stream)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True
