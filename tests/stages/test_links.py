"""Folders of links: Hugging Face's cache, DVC's, and those that lead elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
from formats import encoded, folder, picture, save
from tiny import tiny

from stages.sources.folder import FolderSource
from stages.sources.parquet import ParquetSource
from stages.unread import left_out

SHA = "0123456789abcdef" * 4


def link(at: Path, target: Path | str) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(target)


def names(root: Path) -> list[str]:
    return [entry.name for entry in FolderSource(folder(root), 8).entries()]


def listed(root: Path, source: str = "folder") -> dict[str, str]:
    return left_out(tiny(**{"data.source": source, "data.folder.path": str(root)}).data)


def dvc(*arguments: str, at: Path) -> None:
    command = [sys.executable, "-m", "dvc", *arguments, "-q"]
    subprocess.run(command, cwd=at, check=True, timeout=60)


@pytest.mark.parametrize("cache", ["", "elsewhere"])
def test_what_dvc_links_into_its_cache_is_read(tmp_path: Path, cache: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    dvc("init", "--no-scm", at=project)
    dvc("config", "cache.type", "symlink", at=project)
    if cache:
        dvc("cache", "dir", "--local", str(tmp_path / cache), at=project)
    images = [save(project / "raw" / f"{n}" / "a.png", picture(n)) for n in range(3)]
    dvc("add", "raw", at=project)
    assert all(image.is_symlink() for image in images)
    assert names(project / "raw") == ["0/a.png", "1/a.png", "2/a.png"]
    assert listed(project / "raw") == {}


def test_what_hugging_face_links_to_its_blobs_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path / "datasets--owner--name" / "snapshots" / SHA[:40]
    blob = save(root.parent.parent / "blobs" / SHA, b"")
    column = pa.array([encoded(picture(number)) for number in range(3)], pa.binary())
    pq.write_table(pa.table({"image": column}), blob)
    link(root / "data" / "train.parquet", f"../../../blobs/{SHA}")
    for path in (root, root / "data"):
        assert len(ParquetSource(folder(path), 8).entries()) == 3
        assert listed(path, "parquet") == {}


def test_other_links_out_of_the_folder_are_listed_and_not_read(tmp_path: Path) -> None:
    root = tmp_path / "name" / "snapshots" / "main"
    outside = save(tmp_path / "private" / "a.png", picture(0))
    save(tmp_path / "private" / SHA, picture(1))
    save(tmp_path / "name" / "blobs" / "a.png", picture(2))
    save(root / "in" / "good.png", picture(3))
    link(root / "out.png", outside)
    link(root / "hash.png", tmp_path / "private" / SHA)
    link(root / "name.png", "../../blobs/a.png")
    link(root / "round.png", "round.png")
    link(root / "folder", tmp_path / "private")
    link(root / "again", "in")
    link(root / "in" / "up", "..")
    link(root / "within.png", "in/good.png")
    assert names(root) == ["in/good.png", "within.png"]
    out, inside = "a link out of the folder", "a linked folder, which is not entered"
    found = listed(root)
    assert "a link to nothing" in found.pop("round.png")
    assert found == {
        **dict.fromkeys(["hash.png", "name.png", "out.png"], out),
        **dict.fromkeys(["again", "folder", "in/up"], inside),
    }


def test_a_cache_that_is_a_link_itself_leads_nowhere(tmp_path: Path) -> None:
    private = tmp_path / "private"
    save(private / SHA, picture(0))
    root = tmp_path / "name" / "snapshots" / "main"
    save(root / "good.png", picture(1))
    link(tmp_path / "name" / "blobs", private)
    link(root / "a.png", f"../../blobs/{SHA}")
    save(tmp_path / "name" / ".dvc" / "config", f"[cache]\n    dir = {private}\n")
    link(root / "b.png", private / SHA)
    assert names(root) == ["good.png"]
    assert set(listed(root)) == {"a.png", "b.png"}


@pytest.mark.parametrize("config", ["no section", "[cache\n", "[cache]\ndir\n", b"\xff"])
def test_a_configuration_that_cannot_be_read_is_none(tmp_path: Path, config: str | bytes) -> None:
    save(tmp_path / ".dvc" / "config", config)
    save(tmp_path / "raw" / "good.png", picture(0))
    link(tmp_path / "raw" / "out.png", save(tmp_path / "a.png", picture(1)))
    assert names(tmp_path / "raw") == ["good.png"]
