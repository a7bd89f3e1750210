"""Every name of `data.source` has a reader, and a row in the table of data sets."""

import pickle
from pathlib import Path
from typing import get_args

import pytest
from official import tar
from tiny import ROOT

from stages.errors import InputError
from stages.params import DataParams, load_params
from stages.sources.choose import make_source

NAMES = get_args(DataParams.model_fields["source"].annotation)
CREDITS = {
    "cifar10": "CIFAR-10 by",
    "cifar100": "CIFAR-100 by",
    "mnist": "MNIST by",
    "fashion_mnist": "Fashion-MNIST by",
    "svhn": "SVHN, the Street View House Numbers, by",
    "imagenet32": "ImageNet 32x32 of 2016 by",
    "imagenet64": "ImageNet 64x64 of 2016 by",
}


def data(name: str, folder: Path) -> DataParams:
    params = load_params(ROOT / "params.yaml").data
    path = params.folder.model_copy(update={"path": str(folder)})
    return params.model_copy(update={"source": name, "folder": path})


@pytest.mark.parametrize(("name", "credit"), CREDITS.items())
def test_a_reader_by_name(tmp_path: Path, name: str, credit: str) -> None:
    for side in (32, 64):
        tar(tmp_path / f"train_{side}x{side}.tar", {})
    source = make_source(data(name, tmp_path), seed=0)
    assert source.credit.startswith(credit)
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize("name", CREDITS)
def test_an_empty_folder_is_one_line_with_what_to_do(tmp_path: Path, name: str) -> None:
    line = r"expected .*, came .*; get it from http\S+, or correct data.folder.path$"
    with pytest.raises(InputError, match=line) as error:
        make_source(data(name, tmp_path), seed=0).entries()
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_data_sets_has_every_name(name: str) -> None:
    table = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert any(f"`{name}`" in row for row in table.splitlines() if row.startswith("|"))
