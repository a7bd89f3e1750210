"""What a checkout holds, put aside on the disk while other params are in it, to be put back.

Outputs are put aside as hard links, so that neither their size nor their number matters much; DVC
removes an output before its stage writes it anew, and with that only one of the two names. What
is put aside outlives its process: of one that was killed, the next flow puts it back.
"""

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import index
from pipeline.overrides import PARAMS_FILE, write_atomically

FOLDER = Path(".dvc", "tmp", "before")
RECORD = "record.json"
DVC_LOCK = "dvc.lock"


@dataclass
class Aside:
    """What was in a checkout.

    Attributes:
        root: the checkout.
        meanwhile: what stands in its params.yaml until all is put back.
        staged: the entry of dvc.lock in git's index.
        there: whether something was at a path in the checkout; if so, its name in the folder is
            its place in this list.
    """

    root: Path
    meanwhile: str
    staged: str
    there: dict[str, bool]

    @classmethod
    def begin(cls, root: Path, meanwhile: str, outputs: Iterable[Path]) -> "Aside":
        """Puts aside params.yaml, dvc.lock and outputs."""
        aside = cls(root, meanwhile, index.entry(root, DVC_LOCK), {})
        shutil.rmtree(aside.folder, ignore_errors=True)
        aside.folder.mkdir(parents=True)
        aside.keep([root / PARAMS_FILE, root / DVC_LOCK, *outputs])
        return aside

    @classmethod
    def left_behind(cls, root: Path) -> "Aside | None":
        """By a process that was killed; where it left no record, it had changed nothing yet."""
        try:
            record = json.loads((root / FOLDER / RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return cls(root, **record)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.root / FOLDER

    @property
    def edited(self) -> bool:
        """Whether params.yaml was changed by somebody else meanwhile."""
        return _text(self.root / PARAMS_FILE) != self.meanwhile

    def keep(self, paths: Iterable[Path]) -> None:
        """Puts these aside too, where they are not yet."""
        for path in paths:
            name = os.path.relpath(path, self.root)
            if name not in self.there:
                self.there[name] = os.path.lexists(path)
                if self.there[name]:
                    _double(path, self._place(name))
        record = {name: value for name, value in vars(self).items() if name != "root"}
        write_atomically(self.folder / RECORD, json.dumps(record).encode())

    def put_back(self) -> None:
        """Can be repeated after it broke off; params.yaml comes last, unless it was edited."""
        for name, there in reversed(self.there.items()):
            path, place = self.root / name, self._place(name)
            if name == PARAMS_FILE and self.edited:
                continue
            if there and not os.path.lexists(place):  # back already
                continue
            _remove(path)
            if there:
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(place, path)
        index.put_entry(self.root, DVC_LOCK, self.staged)
        self.forget()

    def forget(self) -> None:
        """Leaves the checkout as it is."""
        (self.folder / RECORD).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, name: str) -> Path:
        return self.folder / str(list(self.there).index(name))


def _double(path: Path, place: Path) -> None:
    """The same content under a second name; files that are edited in place get their own."""
    _remove(place)
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, place, symlinks=True, copy_function=_link)
    elif path.name in (PARAMS_FILE, DVC_LOCK):
        write_atomically(place, path.read_bytes())
    else:
        _link(path, place)


def _link(path: str | Path, place: str | Path) -> None:
    try:
        os.link(path, place, follow_symlinks=False)
    except OSError:  # another disk, or one that has no hard links
        shutil.copy2(path, place, follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _text(file: Path) -> str | None:
    with suppress(OSError, ValueError):
        return file.read_bytes().decode()
    return None
