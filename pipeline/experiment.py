"""The result of a flow run as a DVC experiment: `dvc exp show` compares, `apply` restores."""

import subprocess
from pathlib import Path

from prefect import get_run_logger

from pipeline.command import dvc
from pipeline.dag import project_root

NOBODY = {
    "NAME": "glow",
    "EMAIL": "glow@localhost",
}  # an experiment is a commit, and has an author


def keep_as_experiment(name: str) -> None:
    """Saves params, metrics and outputs under a name; one of the same name is replaced.

    DVC takes all outputs for up to date then, so all stages have to have run. The flow has done
    its work by now, so that what DVC objects to is a warning.
    """
    told: list[str] = []
    command = ["exp", "save", "--quiet", "--force", "--name", name]
    if dvc(*command, log=told.append, env=_author(project_root())) == 0:
        get_run_logger().info("kept as DVC experiment %s; `dvc exp show` compares", name)
    else:
        why = next((line for line in told if line.startswith("ERROR: ")), "".join(told[-1:]))
        get_run_logger().warning("no DVC experiment of this run: %s", why)


def _author(root: Path) -> dict[str, str]:
    """For git, where it knows none, as on a new machine."""
    command = ["git", "config", "user.email"]
    known = subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0
    roles = [] if known else ["GIT_AUTHOR", "GIT_COMMITTER"]
    return {f"{role}_{part}": value for role in roles for part, value in NOBODY.items()}
