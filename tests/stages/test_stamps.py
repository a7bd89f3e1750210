"""Stamps of files: what was finished of a data set is not gone on with once its images changed."""

import http.server
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from formats import folder, picture, save
from ruamel.yaml import YAML
from tiny import tiny

from stages.errors import InputError
from stages.files_of import stamps
from stages.listing import Listing
from stages.params import FolderParams
from stages.preprocess import command
from stages.shards import SPLITS, ShardSet
from stages.sources.files import Location
from stages.sources.folder import FolderSource


def assert_stamps_tell(params: FolderParams, replace: Callable[[bytes], object]) -> None:
    """Of files of one name and length: the same stamps twice, others when the content is."""

    def now() -> list[str]:
        return sorted(stamps(Location(params.path)))

    replace(b"old")
    old = now()
    assert len(old) == 1
    assert now() == old
    replace(b"new")
    assert not set(now()) & set(old)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_replaced_file_has_another_stamp(tmp_path: Path, scheme: str) -> None:
    save(tmp_path / "in" / ".hidden", b"1")
    file = tmp_path / "in" / "b" / "a.png"
    ages = iter((1, 2))

    def replace(content: bytes) -> None:
        save(file, content)
        os.utime(file, (age := next(ages), age))

    assert_stamps_tell(folder(f"{scheme}{tmp_path / 'in'}"), replace)


def test_a_replaced_object_has_another_stamp_in_memory() -> None:
    store = fsspec.filesystem("memory")
    try:
        assert_stamps_tell(folder("memory://stamped"), lambda c: store.pipe("/stamped/a.png", c))
    finally:
        store.rm("/stamped", recursive=True)


@pytest.mark.parametrize("dated", [True, False])
def test_a_file_of_a_web_server_has_another_stamp(
    tmp_path: Path, web: str, *, dated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(tmp_path / "site" / "ü b.png", b"old")
    os.utime(file, (1, 1))
    if not dated:
        handler = http.server.SimpleHTTPRequestHandler
        send = handler.send_header

        def without_date(self: Any, name: str, value: str) -> None:  # noqa: ANN401
            if name.lower() != "last-modified":
                send(self, name, value)

        monkeypatch.setattr(handler, "send_header", without_date)
    first, again = (list(stamps(Location(web))) for _ in range(2))
    assert (first == again) is dated
    os.utime(file, (2, 2))
    assert list(stamps(Location(web))) not in (first, again)


def test_a_source_at_a_url_begins_anew_when_its_images_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stops at the last image, the others finished; then all are replaced."""
    images = [tmp_path / "in" / f"{number:02d}.png" for number in range(40)]
    changes = {"data.source": "folder", "data.folder.path": f"file://{tmp_path / 'in'}"}
    changes |= {"data.image_size": 8, "data.n_bits": 8, "data.shard_size": 5}
    changes |= {"data.split.valid": 0.2, "data.split.test": 0.2}
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML().dump(tiny(**changes).model_dump(), stream)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOW_WORKERS", "1")
    for number, file in enumerate(images):
        save(file, picture(number))
    last = Listing.of(FolderSource(folder(tmp_path / "in"), 8).entries(), tiny(**changes).data)
    save(tmp_path / "in" / last.members(last.shards[-1])[-1].name, b"no image")
    with pytest.raises(InputError, match=r"or set data\.on_error"):
        command(tmp_path / "shards")
    finished = list(tmp_path.glob(".cache/preprocess/*/journal/*.json"))
    assert len(finished) == len(last.shards) - 1
    for number, file in enumerate(images):
        save(file, picture(100 + number))
    command(tmp_path / "shards")
    shards = ShardSet.open(tmp_path / "shards")
    samples = [sample for split in SPLITS for sample in shards.samples(split)]
    assert len(samples) == 40
    for sample in samples:
        expected = picture(100 + int(sample.name.removesuffix(".png")))
        assert (sample.levels.permute(1, 2, 0).numpy() == expected).all()
