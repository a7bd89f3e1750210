"""The result of a flow run as a DVC experiment: `dvc exp show` compares, `apply` restores."""

import hashlib
import re
import subprocess
import time
import unicodedata
from pathlib import Path

from prefect import get_run_logger

from pipeline import index
from pipeline.command import dvc, is_locked
from pipeline.dag import project_root

NOBODY = {
    "NAME": "glow",
    "EMAIL": "glow@localhost",
}  # an experiment is a commit, and has an author


MAX_BYTES = 200  # of a name: git keeps it as a file
HASH = 6  # digits
LOCK_SECONDS = 10.0  # between two attempts


def reference(text: str, max_bytes: int = MAX_BYTES) -> str:
    """What git and DVC take for a name: of the text, letters of any script, digits, `_=+-`.

    All else becomes `_`, and what is too long for a file name is cut off.
    """
    words = re.sub(r"[^\w=+-]+", "_", unicodedata.normalize("NFC", text)).strip("_-")
    return words.encode()[:max_bytes].decode(errors="ignore").rstrip("_-")


def experiment_name(flow_run: str) -> str:
    """The flow run's own name, if it can be one of an experiment, or one much like it.

    It then ends with a hash, so that `a/b` and `a b` are two experiments.
    """
    if flow_run and reference(flow_run) == flow_run:
        return flow_run
    name = reference(flow_run, MAX_BYTES - HASH - 1)
    return "-".join(filter(None, [name, hashlib.sha256(flow_run.encode()).hexdigest()[:HASH]]))


def keep_as_experiment(name: str) -> None:
    """Saves params, metrics and outputs under a name; one of the same name is replaced.

    DVC takes all outputs for up to date then, so all stages have to have run. The flow has done
    its work by now, so that what DVC objects to is a warning.
    """
    told: list[str] = []
    root, logger = project_root(), get_run_logger()
    command = ["exp", "save", "--force", "--name", name]
    with index.as_it_was(root):
        while (code := dvc(*command, log=told.append, env=_author(root))) and is_locked(told):
            logger.info("no experiment yet, since another DVC process runs; waits for its end")
            told.clear()
            time.sleep(LOCK_SECONDS)
    if code == 0:
        logger.info("kept as DVC experiment %s; `dvc exp show` compares, `apply` restores", name)
    else:
        why = next((line for line in told if line.startswith("ERROR: ")), "".join(told[-1:]))
        logger.warning(
            "no DVC experiment of this run: %s; the outputs are in DVC's cache, and the same run "
            "with keep brings them into the checkout",
            why,
        )


def _author(root: Path) -> dict[str, str]:
    """For git, where it knows none, as on a new machine."""
    command = ["git", "config", "user.email"]
    known = subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0
    roles = [] if known else ["GIT_AUTHOR", "GIT_COMMITTER"]
    return {f"{role}_{part}": value for role in roles for part, value in NOBODY.items()}
