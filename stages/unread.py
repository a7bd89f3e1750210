"""What lies in the folder of a data set and is not read: named, or counted by suffix, and said."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from glow.apps.pictures import SUFFIXES
from stages.files_of import folder_of, walk
from stages.params import DataParams
from stages.sources.links import Links

# Of sources that read all such files below their folder; others know theirs by name.
WALKED = {"folder": SUFFIXES, "webdataset": {".tar"}, "parquet": {".parquet"}}
N_NAMED = 5


def left_out(data: DataParams) -> dict[str, str]:
    """What has the name of a file to read and could not be read, and linked folders; and why.

    A store has no such things.
    """
    root = folder_of(data)
    if root is None or root.is_remote or not root.is_folder():
        return {}
    base, found = root.local.resolve(), {}
    links = Links(base)
    for entry in walk(base):
        named = Path(entry.name).suffix.lower() in WALKED.get(data.source, SUFFIXES)
        if reason := _why_not(entry, links, named=named, walked=data.source in WALKED):
            name = os.path.relpath(entry.path, base)
            found[os.fsencode(name).decode(errors="backslashreplace")] = reason
    return dict(sorted(found.items()))


def lines(where: str, named: Mapping[str, str], counted: Mapping[str, int]) -> list[str]:
    """One of what is left out, and one of what is passed over; none where all is read."""
    said = []
    if named:
        about = "; ".join(f"{name!a}: {reason}" for name, reason in list(named.items())[:N_NAMED])
        said.append(f"{where}: {len(named)} left out, dataset.json names them ({_short(about)})")
    if counted:
        each = ", ".join(f"{n} {suffix!a}" for suffix, n in list(counted.items())[:N_NAMED])
        hint = "; pip install pillow-heif, and HEIC is read" if ".heic" in counted else ""
        said.append(
            f"{where}: {sum(counted.values())} other files are passed over, dataset.json counts "
            f"them ({_short(each)}){hint}"
        )
    return said


def _short(text: str) -> str:
    return text if len(text) < 300 else f"{text[:300]}..."


def _why_not(entry: "os.DirEntry[str]", links: Links, *, named: bool, walked: bool) -> str:
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if not named:
            return ""
        return f"a link to nothing ({error.strerror})" if entry.is_symlink() else str(error)
    if stat.S_ISDIR(mode) and entry.is_symlink() and walked:
        return "a linked folder, which is not entered"
    if not named:
        return ""
    if stat.S_ISDIR(mode):
        return "a folder"
    if not stat.S_ISREG(mode):
        return "no file but a pipe, socket or device"
    if entry.is_symlink() and not links.follows(Path(entry.path)):
        return "a link out of the folder"
    return ""
