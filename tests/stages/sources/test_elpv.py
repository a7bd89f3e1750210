"""ELPV: the real photographs where the package is installed, and packages that are not whole."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.errors import InputError
from stages.sources import elpv
from stages.sources.elpv import ElpvSource

installed = pytest.mark.skipif(find_spec(elpv.PACKAGE) is None, reason="no package elpv-dataset")
LABELS = "images/a.png  0.3333333333333333  mono\nimages/b.png  0.6666666666666666  poly\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two cells that cannot be imported; its folder of data."""
    monkeypatch.setattr(elpv, "PACKAGE", "cells_of_a_test")
    monkeypatch.setattr(elpv, "N_IMAGES", 2)
    monkeypatch.syspath_prepend(tmp_path)
    data = tmp_path / "cells_of_a_test" / "data"
    (data / "images").mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('was run')")
    for name, grey in (("a", 10), ("b", 200)):
        Image.new("L", (300, 300), grey).save(data / "images" / f"{name}.png")
    (data / "labels.csv").write_text(LABELS)
    return data


@installed
def test_the_real_photographs() -> None:
    source = ElpvSource(300)
    entries = source.entries()
    assert len(entries) == 2624
    counts = Counter(
        name for entry in entries for name, is_so in entry.attributes.items() if is_so
    )
    assert counts == {"Defective": 821, "Monocrystalline": 1074}
    read = source.read(entries[-1]).pixels
    assert (read.shape, read.dtype) == ((300, 300, 3), np.uint8)
    assert read.std() > 10
    assert (read == read[..., :1]).all()
    assert "CC BY-NC-SA 4.0" in source.credit


@installed
@pytest.mark.parametrize("index", [0, 1312, 2623])
def test_real_photographs_in_small(index: int) -> None:
    whole, small = (
        source.read(source.entries()[index]).pixels.astype(float)
        for source in (ElpvSource(300), ElpvSource(30))
    )
    means = whole.reshape(30, 10, 30, 10, 3).mean(axis=(1, 3))
    assert np.abs(small - means).mean() < 4


def test_cells_are_read_without_running_the_package(package: Path) -> None:
    source = ElpvSource(32)
    first, second = source.entries()
    assert (first.name, first.split, first.label) == ("images/a", None, None)
    assert first.attributes == {"Defective": False, "Monocrystalline": True}
    assert source.read(second).attributes == {"Defective": True, "Monocrystalline": False}
    assert (source.read(second).pixels == np.full((32, 32, 3), 200)).all()


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elpv, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="elpv-dataset, which is not there; `pip install"):
        ElpvSource(32).entries()


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (LABELS.splitlines()[0], "expected 2 cells, came 1"),
        (LABELS + LABELS, "expected 2 cells, came 4"),
        (LABELS + "images/c.png maybe mono", "line 3: expected a file, a probability"),
        (LABELS + "images/c.png 0.0 glass", "line 3: .* came 'images/c.png 0.0 glass'"),
        (None, "came no file"),
    ],
)
def test_a_package_that_is_not_whole(package: Path, labels: str | None, line: str) -> None:
    (package / "labels.csv").unlink()
    if labels is not None:
        (package / "labels.csv").write_text(labels)
    with pytest.raises(InputError, match=line):
        ElpvSource(32).entries()
