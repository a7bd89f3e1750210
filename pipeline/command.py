"""DVC's command line, run in the project with this Python."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline import process
from pipeline.dag import project_root

LOCKED = re.compile(r"^ERROR: .*(is busy, it is being blocked by:|Unable to acquire lock\.)")
FAILED_ITSELF = re.compile(r"^ERROR: .*: failed to run: ")


def is_locked(lines: Iterable[str]) -> bool:
    """Whether DVC has failed, by its own words, for another DVC process; it waits for none."""
    said = list(lines)
    return any(map(LOCKED.match, said)) and not any(map(FAILED_ITSELF.match, said))


def dvc(*arguments: str, log: Callable[[str], Any], env: Mapping[str, str] | None = None) -> int:
    """Runs `dvc` in the project, passes on each line it prints, and returns its exit code.

    This Python comes first in PATH, since dvc.yaml says no more than `python`.
    """
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    here = {"PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    return process.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project_root(),
        environment={**os.environ, **here, **(env or {})},
        log=log,
    )
