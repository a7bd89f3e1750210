"""Copies of files and folders that a power cut does not take away again."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from glow.atomic import make_folder, sync_file, sync_folder


def copy_into(folder: Path, files: Mapping[str, Path]) -> None:
    """Copies files, and folders with all in them, under the names given; all of them or none.

    Raises:
        OSError: the disk is full, or one of them is not there.
    """
    make_folder(folder.parent)
    try:
        for name, source in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, ignore=ignored, copy_function=copy_file)
            else:
                copy_file(source, target)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for made in (*folder.rglob("*"), folder, folder.parent):
        if made.is_dir():
            sync_folder(made)


def copy_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Of one file, without its times and owner, as `shutil.copytree` wants it done."""
    shutil.copyfile(source, target)
    sync_file(Path(target))
