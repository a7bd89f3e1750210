"""Git's index, which DVC writes to: what a user has staged stays staged."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def entry(root: Path, file: str) -> str:
    """What is staged of a file of the checkout, in git's own words; empty where nothing is."""
    return _git(root, "ls-files", "--stage", "--full-name", "--", file) or ""


def put_entry(root: Path, file: str, before: str) -> None:
    """Stages what `entry` said of the file."""
    if before:
        _git(root, "update-index", "--index-info", told=before)
    else:
        _git(root, "rm", "--cached", "--quiet", "--ignore-unmatch", "--", file)


@contextmanager
def as_it_was(root: Path) -> Iterator[None]:
    """`dvc exp save` leaves an index in which nothing is staged."""
    tree = _git(root, "write-tree")
    try:
        yield
    finally:
        if tree:
            _git(root, "read-tree", tree.strip())
            _git(root, "update-index", "-q", "--refresh")


def _git(root: Path, *arguments: str, told: str | None = None) -> str | None:
    """What git says; None where it refuses, as without a repository."""
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=root, input=told, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None
