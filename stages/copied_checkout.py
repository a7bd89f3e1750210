"""The copy of the checkout in which `dvc exp run --temp` and `--queue` run a stage.

It has what git and DVC track, so that images that neither of them knows of are missing there.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import InputError
from stages.files_of import walk
from stages.sources.files import Location


@contextmanager
def told_of_missing_files(root: Location | None) -> Iterator[None]:
    """What fails inside, for lack of the files below `root`, is told with the way to have them.

    Raises:
        InputError: as inside, but where it is the copy that has not the files of the checkout.
    """
    missing = _missing(root)
    try:
        yield
    except InputError:
        if missing:
            raise InputError(missing) from None
        raise
    if missing:
        print(f"warning: {missing}", file=sys.stderr, flush=True)


def _missing(root: Location | None) -> str | None:
    """A line if this is a copy, and the same folder of the checkout has files that it has not."""
    if root is None or root.is_remote or root.local.is_absolute():
        return None
    checkout = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    original = checkout / root.local
    if checkout == Path.cwd().resolve() or not original.is_dir():
        return None
    files = (entry.path for entry in walk(original) if not entry.is_dir(follow_symlinks=False))
    names = (os.path.relpath(file, original) for file in files)
    lacking = sum(not os.path.lexists(root.local / name) for name in names)
    if not lacking:
        return None
    return (
        f"{root}: {lacking} files are missing in this copy of the checkout, which `dvc exp run` "
        f"made of what git tracks; add -S 'data.folder.path={original}' to read all of them there"
    )
