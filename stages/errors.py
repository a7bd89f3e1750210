"""The two ways in which a stage ends badly, and how a command reports them."""

import os
import sys
from collections.abc import Callable


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
    except (InputError, StageError, OSError) as error:
        if os.environ.get("GLOW_DEBUG"):
            raise
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
