"""The readers of published data sets by their names in params.yaml."""

import pickle
from pathlib import Path

import pytest
from tiny import tiny

from stages.errors import InputError
from stages.sources.choose import make_source

CREDITS = {
    "celeba": "CelebA by Ziwei Liu",
    "celeba_hq": "CelebA-HQ by Tero Karras",
    "ffhq": "Flickr-Faces-HQ by Tero Karras",
    "lsun": "LSUN by Fisher Yu",
    "webdataset": "The user's own",
    "parquet": "The user's own",
}


@pytest.mark.parametrize(("name", "credit"), CREDITS.items())
def test_a_reader_by_name(tmp_path: Path, name: str, credit: str) -> None:
    changes = {"data.source": name, "data.folder.path": str(tmp_path)}
    source = make_source(tiny(**changes).data, seed=0)
    assert source.credit.startswith(credit)
    assert pickle.loads(pickle.dumps(source)) == source
    with pytest.raises(InputError, match=r": expected .*, came no") as error:
        source.entries()
    assert str(error.value).startswith(str(tmp_path))
    assert "data.folder.path" in str(error.value)
    assert "\n" not in str(error.value)
