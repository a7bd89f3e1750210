"""Sources behind a URL: the same images as from a disk, and one line where a store fails."""

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats import encoded, folder, picture, save, tar
from servers import BUCKET, KEYS, bucket, s3_client
from tiny import tiny

from stages.errors import InputError
from stages.files_of import stamps
from stages.params import FolderParams
from stages.preprocess import preprocess
from stages.shards import SPLITS, ShardSet
from stages.sources.celeba import CelebaSource
from stages.sources.celeba_hq import CelebaHqSource
from stages.sources.ffhq import FfhqSource
from stages.sources.files import Location
from stages.sources.folder import FolderSource
from stages.sources.parquet import ParquetSource
from stages.sources.source import Entry, Source
from stages.sources.webdataset import WebdatasetSource

Make = Callable[[FolderParams], Source]


def write_folder(root: Path) -> None:
    save(root / "a.png", picture(0))
    save(root / "in" / "ü b.png", picture(1))
    save(root / ".hidden" / "c.png", picture(2))
    save(root / "t.csv", "name,Hat\r\na.png,1\r\nü b.png,0\r\n")


def write_celeba(root: Path) -> None:
    save(root / "img_align_celeba" / "000001.jpg", encoded(picture(0, 178, 218)))
    save(root / "img_align_celeba" / "000002.jpg", encoded(picture(1, 178, 218)))
    save(root / "list_attr_celeba.txt", "2\nHat Young\n000001.jpg 1 -1\n000002.jpg 1 1\n")
    save(root / "list_eval_partition.txt", "000001.jpg 0\n000002.jpg 2\n")


def write_celeba_zip(root: Path) -> None:
    write_celeba(root)
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
        for file in sorted((root / "img_align_celeba").iterdir()):
            archive.write(file, f"img_align_celeba/{file.name}")
    shutil.rmtree(root / "img_align_celeba")


def write_celeba_hq(root: Path) -> None:
    save(root / "00000.png", picture(0))
    np.save(root / "imgHQ00001.npy", picture(1))


def write_ffhq(root: Path) -> None:
    save(root / "thumbnails128x128" / "60000" / "60000.png", picture(0))


def write_webdataset(root: Path) -> None:
    tar(root / "a-train-0.tar", {f"{n}.png": encoded(picture(n)) for n in range(3)})
    tar(root / "a-test-0.tar", {"0.png": encoded(picture(3)), "0.cls": b"1"})


def write_parquet(root: Path, n_images: int = 3) -> None:
    column = pa.array([encoded(picture(number)) for number in range(n_images)], pa.binary())
    file = save(root / "a.parquet", b"")
    pq.write_table(pa.table({"image": column, "Hat": [True] * n_images}), file)


def make_folder(params: FolderParams) -> Source:
    return FolderSource(params.model_copy(update={"attributes": "t.csv"}), 8)


FORMATS: dict[str, tuple[Callable[[Path], None], Make]] = {
    "folder": (write_folder, make_folder),
    "celeba": (write_celeba, lambda params: CelebaSource(params, 148, official=False)),
    "celeba zip": (write_celeba_zip, lambda params: CelebaSource(params, 148, official=False)),
    "celeba_hq": (write_celeba_hq, lambda params: CelebaHqSource(params, 8, official=False)),
    "ffhq": (write_ffhq, lambda params: FfhqSource(params, 8, official=False)),
    "webdataset": (write_webdataset, lambda params: WebdatasetSource(params, 8)),
    "parquet": (write_parquet, lambda params: ParquetSource(params, 8)),
}


def facts(entry: Entry) -> tuple[Any, ...]:
    return entry.name, entry.split, entry.attributes, entry.label


def assert_same(local: Source, remote: Source) -> None:
    here = local.entries()
    expected = [local.read(entry).pixels for entry in here]
    known = local.attribute_names, local.classes
    there = remote.entries()
    assert list(map(facts, here)) == list(map(facts, there))
    assert known == (remote.attribute_names, remote.classes)
    for pixels, entry in zip(expected, there, strict=True):
        assert (remote.read(entry).pixels == pixels).all()


@pytest.mark.parametrize("name", FORMATS)
def test_a_store_in_memory(tmp_path: Path, name: str) -> None:
    write, make = FORMATS[name]
    write(tmp_path)
    store = fsspec.filesystem("memory")
    store.put(f"{tmp_path}/", "/faces", recursive=True)
    try:
        assert_same(make(folder(tmp_path)), make(folder("memory://faces")))
    finally:
        store.rm("/faces", recursive=True)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_in_a_store(name: str) -> None:
    with pytest.raises(InputError, match=r"memory://nothing: expected .* came no") as error:
        FORMATS[name][1](folder("memory://nothing")).entries()
    assert "\n" not in str(error.value)


def test_an_image_that_went_since_is_not_skipped() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/gone/a.png", encoded(picture(0)))
    images = FolderSource(folder("memory://gone"), 8)
    entries = images.entries()
    store.rm("/gone/a.png")
    with pytest.raises(
        InputError, match="expected the images that were listed, came no such file"
    ):
        images.read(entries[0])


@pytest.mark.parametrize("name", ["folder", "celeba", "celeba_hq"])
def test_a_web_server_that_lists(tmp_path: Path, web: str, name: str) -> None:
    write, make = FORMATS[name]
    write(tmp_path / "site")
    assert_same(make(folder(tmp_path / "site")), make(folder(web)))
    with pytest.raises(InputError, match="came no"):
        make(folder(f"{web}/none")).entries()


@pytest.mark.parametrize("name", ["celeba zip", "webdataset"])
def test_a_web_server_that_sends_no_parts(tmp_path: Path, web: str, name: str) -> None:
    write, make = FORMATS[name]
    write(tmp_path / "site")
    images = make(folder(web))
    with pytest.raises(InputError, match=r"[Rr]ange"):
        [images.read(entry) for entry in images.entries()]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/faces", "came no such folder|Cannot connect to host"),
        ("nonsense://faces", "Protocol not known: nonsense"),
    ],
)
def test_what_is_no_store(url: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        FolderSource(folder(url), 8).entries()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bucket(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def account(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the bucket, on a machine that knows its keys from the environment alone."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    settings = {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": KEYS[0], "SECRET_ACCESS_KEY": KEYS[1]}
    for name, value in {**settings, "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield s3_client(s3)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def upload(account: Any, root: Path, prefix: str) -> FolderParams:  # noqa: ANN401 - boto3
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        key = f"{prefix}/{file.relative_to(root).as_posix()}"
        account.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
    return folder(f"s3://{BUCKET}/{prefix}")


@pytest.mark.server
@pytest.mark.parametrize("name", FORMATS)
def test_an_s3_server(account: Any, tmp_path: Path, name: str) -> None:  # noqa: ANN401 - boto3
    write, make = FORMATS[name]
    write(tmp_path / "in")
    assert_same(make(folder(tmp_path / "in")), make(upload(account, tmp_path / "in", name)))


@pytest.mark.server
def test_a_replaced_object_has_another_stamp(account: Any) -> None:  # noqa: ANN401 - boto3
    found = []
    for content in (b"old", b"new"):
        account.put_object(Bucket=BUCKET, Key="stamped/a.png", Body=content)
        found += [list(stamps(Location(f"s3://{BUCKET}/stamped"))) for _ in range(2)]
    assert found[0] == found[1] != found[2] == found[3]


@pytest.mark.server
def test_what_an_s3_server_refuses(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    def refused(url: str) -> str:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        with pytest.raises(InputError) as error:
            FolderSource(folder(url), 8).entries()
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "came no such folder" in refused(f"s3://{BUCKET}/none")
    assert "came no such folder" in refused("s3://no-such-bucket/a")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "Unable to locate credentials" in refused(f"s3://{BUCKET}/a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "Could not connect to the endpoint URL" in refused(f"s3://{BUCKET}/a")


@pytest.mark.server
def test_processes_share_what_one_fetched(
    account: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLOW_WORKERS", "2")
    write_parquet(tmp_path / "in", 100)
    params = upload(account, tmp_path / "in", "shards")
    changes = {"data.source": "parquet", "data.folder.path": params.path, "data.n_bits": 8}
    changes |= {"data.image_size": 8, "data.split.valid": 0.2, "data.split.test": 0.2}
    manifest = preprocess(tiny(**changes).data, 0, tmp_path / "out")
    shards = ShardSet(tmp_path / "out", manifest)
    samples = [sample for split in SPLITS for sample in shards.samples(split)]
    assert len(samples) == 100
    for sample in samples:
        pixels = picture(int(sample.name.rpartition("/")[2]))
        assert (sample.levels.permute(1, 2, 0).numpy() == pixels).all()
