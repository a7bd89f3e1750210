"""Downsampled ImageNet: both releases, each known by its files, never together."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from official import Hostile, noise, python3_pickle, read_all, rows, small, tar, write
from PIL import Image

from glow.apps.pictures import UnreadableImage
from stages.errors import InputError
from stages.sources.imagenet import imagenet
from stages.sources.imagenet_batches import imagenet_2017
from stages.sources.imagenet_pngs import ImagenetPngs
from stages.sources.source import NOT_TEST, Pixels

STEMS = {"train": ["0000001", "0000002", "0000003"], "valid": ["00001", "00002"]}
EVERY_SIDE = pytest.mark.parametrize("side", [32, 64])


def png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def pngs(folder: Path, side: int, *, packed: bool) -> Pixels:
    """The release of 2016; its images in the order of its entries."""
    images = noise(5, side)
    remaining = iter(images)
    for split, stems in STEMS.items():
        name = f"{split}_{side}x{side}"
        members = {f"{name}/{stem}.png": png(next(remaining)) for stem in stems}
        if packed:
            tar(folder / f"{name}.tar", dict(reversed(members.items())))
        else:
            for path, content in members.items():
                write(folder / path, content)
    return images


def batches(folder: Path, side: int, *, packed: bool) -> Pixels:
    """The release of 2017, one image in each batch, in its order; labels are 1, 2, ..., 11."""
    images = noise(11, side)
    stems = [*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"]
    for index, stem in enumerate(stems):
        data, labels = rows(images[index : index + 1]), [index + 1]
        if packed:
            np.savez(folder / f"{stem}.npz", data=data, labels=labels, mean=np.zeros(3))
        else:
            mean = data.mean(axis=0)
            write(folder / stem, python3_pickle({"data": data, "labels": labels, "mean": mean}))
    return images


@EVERY_SIDE
@pytest.mark.parametrize("packed", [False, True])
def test_the_release_of_2016(tmp_path: Path, side: int, *, packed: bool) -> None:
    images = pngs(tmp_path, side, packed=packed)
    source = ImagenetPngs(tmp_path, side, side, official=False)
    entries = source.entries()
    assert [entry.name for entry in entries] == [
        f"{split}/{stem}" for split, stems in STEMS.items() for stem in stems
    ]
    assert [entry.split for entry in entries] == [NOT_TEST] * 3 + ["test"] * 2
    assert {entry.label for entry in entries} == {None}
    assert source.classes == ()
    assert (read_all(source) == images).all()


@EVERY_SIDE
@pytest.mark.parametrize("packed", [False, True])
def test_the_release_of_2017(tmp_path: Path, side: int, *, packed: bool) -> None:
    images = batches(tmp_path, side, packed=packed)
    source = small(imagenet_2017(tmp_path, side), tmp_path, side)
    entries = source.entries()
    assert [entry.name for entry in entries[-2:]] == ["train/0000009", "valid/0000000"]
    assert [entry.split for entry in entries] == [NOT_TEST] * 10 + ["test"]
    assert [entry.label for entry in entries] == list(range(11))
    assert (source.classes[0], len(source.classes)) == ("class_0001", 1000)
    assert (read_all(source) == images).all()


def test_batches_in_the_folders_of_their_zips(tmp_path: Path) -> None:
    for folder in ("Imagenet32_train", "Imagenet32_val"):
        (tmp_path / folder).mkdir()
    batches(tmp_path / "Imagenet32_train", 32, packed=False)
    lost = (tmp_path / "Imagenet32_train" / "val_data").read_bytes()
    (tmp_path / "Imagenet32_val" / "val_data").write_bytes(lost)
    source = small(imagenet_2017(tmp_path, 32), tmp_path)
    with pytest.raises(InputError, match=r"expected each batch once, came val_data as .* and"):
        source.entries()
    (tmp_path / "Imagenet32_train" / "val_data").unlink()
    assert len(source.entries()) == 11


def test_the_release_is_found_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pngs(tmp_path, 32, packed=True)
    assert "van den Oord" in imagenet(tmp_path, 32, 32).credit
    said = capsys.readouterr().err
    assert said.startswith("imagenet32: found ImageNet 32x32 of 2016 by Aaron van den Oord")
    batches(tmp_path, 32, packed=False)
    with pytest.raises(InputError, match=r"one release .* 2016 \(train_32x32.tar\) and .* 2017"):
        imagenet(tmp_path, 32, 32)
    for file in tmp_path.glob("*.tar"):
        file.unlink()
    assert "not the release that likelihoods are reported on" in imagenet(tmp_path, 32, 32).credit
    assert capsys.readouterr().err.startswith("imagenet32: found ImageNet 32x32 of 2017")


def test_no_release(tmp_path: Path) -> None:
    line = r"train_64x64.tar and valid_64x64.tar, .* came neither; get it from https://image-net"
    with pytest.raises(InputError, match=line) as error:
        imagenet(tmp_path, 64, 64)
    assert "\n" not in str(error.value)


def test_missing_parts(tmp_path: Path) -> None:
    pngs(tmp_path, 32, packed=True)
    (tmp_path / "valid_32x32.tar").unlink()
    with pytest.raises(InputError, match="came no valid_32x32; get it from"):
        ImagenetPngs(tmp_path, 32, 32, official=False).entries()
    batches(tmp_path, 32, packed=False)
    (tmp_path / "train_data_batch_7").unlink()
    with pytest.raises(InputError, match="came no train_data_batch_7; get it from"):
        small(imagenet_2017(tmp_path, 32), tmp_path).entries()


def test_too_few_images(tmp_path: Path) -> None:
    pngs(tmp_path, 32, packed=False)
    with pytest.raises(InputError, match=r"train_32x32: expected the 1281149 images .* came 3;"):
        imagenet(tmp_path, 32, 32).entries()
    for folder in ("train_32x32", "valid_32x32"):
        (tmp_path / folder).rename(tmp_path / folder[::-1])
    batches(tmp_path, 32, packed=False)
    with pytest.raises(InputError, match=r"expected 1281167 images in the part train .* came 10;"):
        imagenet(tmp_path, 32, 32).entries()


def test_batches_of_the_other_size(tmp_path: Path) -> None:
    batches(tmp_path, 64, packed=False)
    with pytest.raises(InputError, match="expected images of 32x32, came 64x64"):
        imagenet(tmp_path, 32, 32).entries()


def test_a_hostile_pickle_does_not_run(tmp_path: Path) -> None:
    batches(tmp_path, 32, packed=False)
    write(tmp_path / "train_data_batch_1", pickle.dumps({"data": Hostile(tmp_path / "made")}))
    with pytest.raises(InputError, match=r"train_data_batch_1: .* nothing of it was run"):
        small(imagenet_2017(tmp_path, 32), tmp_path).entries()
    np.savez(tmp_path / "a.npz", data=np.array([Hostile(tmp_path / "made")]), labels=[1])
    (tmp_path / "train_data_batch_1").unlink()
    (tmp_path / "a.npz").rename(tmp_path / "train_data_batch_1.npz")
    with pytest.raises(InputError, match=r"train_data_batch_1.npz: .*allow_pickle=False"):
        small(imagenet_2017(tmp_path, 32), tmp_path).entries()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["train_data_batch_2", "train_data_batch_2.npz"])
def test_damaged_batches(tmp_path: Path, name: str) -> None:
    batches(tmp_path, 32, packed=name.endswith(".npz"))
    whole = (tmp_path / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no batch"):
        write(tmp_path / name, content)
        with pytest.raises(InputError, match=rf"{name}: .* damaged"):
            small(imagenet_2017(tmp_path, 32), tmp_path).entries()


def test_damaged_pngs(tmp_path: Path) -> None:
    pngs(tmp_path, 32, packed=True)
    archive = tmp_path / "train_32x32.tar"
    whole = archive.read_bytes()
    source = ImagenetPngs(tmp_path, 32, 32, official=False)
    archive.write_bytes(whole[:3000])
    with pytest.raises(InputError, match=r"train_32x32.tar: expected a whole tar .* damaged"):
        source.entries()
    tar(archive, {"train_32x32/0000001.png": b"no picture", "x/0000002.png": png(noise(1, 16)[0])})
    first, second, *_ = source.entries()
    with pytest.raises(UnreadableImage, match="came something else"):
        source.read(first)
    with pytest.raises(UnreadableImage, match="expected 32x32 pixels, came 16x16"):
        source.read(second)


def test_classes_are_named_where_the_list_is_there(tmp_path: Path) -> None:
    lines = [f"n{number:08d} {number} kit_fox" for number in range(1, 1001)]
    (tmp_path / "map_clsloc.txt").write_text("\n".join(reversed(lines)))
    assert imagenet_2017(tmp_path, 32).classes[2] == "n00000003_kit_fox"
    (tmp_path / "map_clsloc.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(InputError, match="for each of 1000 classes, came 999"):
        imagenet_2017(tmp_path, 32)
