"""Names in pictures: text and never a formula, in a font that has their letters."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from stages.charts import chart, short
from stages.dataset_figures import save_frequencies, save_together
from stages.edit_figures import save_curves
from stages.fonts import families_with

FORMULAS = ["Ba$$in", "$$", "$x^2$", "$\\frac", "a_b^c", "_hidden", "x" * 200]


def font(file: Path, letters: str) -> str:
    """A font in which each of the letters is a black square."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(place) if place != (0, 0) else pen.moveTo(place)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square" for letter in letters})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": file.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(file)
    return str(file)


@pytest.fixture
def fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The fonts of the system: none, but for those that a test adds."""
    known: list[str] = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: known)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    families_with.cache_clear()
    yield known
    families_with.cache_clear()


def dark(file: Path, name: str) -> int:
    """Draws a name alone; pixels of its picture that are black."""
    with chart(file, [name], figsize=(2, 1), dpi=100) as figure:
        figure.text(0.1, 0.1, name, fontsize=36)
    with Image.open(file) as picture:
        return int((np.asarray(picture.convert("L")) == 0).sum())


def test_a_dollar_begins_no_formula(tmp_path: Path) -> None:
    counts = {split: dict.fromkeys(FORMULAS, 1) for split in ("train", "test")}
    save_frequencies(tmp_path / "a.png", FORMULAS, counts, counts, {"train": 2, "test": 2})
    n = len(FORMULAS)
    save_together(tmp_path / "b.png", FORMULAS, np.ones((n, n)))
    rows = {"attribute": FORMULAS, "estimator": "guided", "success": 0.5, "leakage": 0.1}
    save_curves(tmp_path / "c.png", pd.DataFrame(rows))
    assert len(list(tmp_path.iterdir())) == 3
    assert dark(tmp_path / "d.png", "$-$") > dark(tmp_path / "e.png", "-")


def test_letters_that_one_font_lacks_come_from_another(
    tmp_path: Path, fonts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fonts += [font(tmp_path / "Bold.ttf", "猫"), font(tmp_path / "Cats.ttf", "猫犬")]
    fonts += [font(tmp_path / "Dogs.ttf", "犬鳥"), str(tmp_path / "gone.ttf")]
    assert families_with(frozenset("Black_Hair")) == ()
    assert families_with(frozenset("a猫 犬")) == ("Cats",)
    assert families_with(frozenset("猫鳥")) == ("Cats", "Dogs")
    square = dark(tmp_path / "cat.png", "猫")
    assert square == pytest.approx(50**2, rel=0.1)
    assert dark(tmp_path / "both.png", "猫鳥") == pytest.approx(2 * square, rel=0.01)
    assert capsys.readouterr().err == ""


@pytest.mark.filterwarnings("error")
def test_a_name_that_no_font_has_is_drawn_and_said_once(
    tmp_path: Path, fonts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert dark(tmp_path / "boxes.png", "猫") > 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no font has 猫, ")
    assert "fonts-noto-cjk" in line


def test_a_long_name_leaves_room_for_its_bar() -> None:
    assert short("Black_Hair") == "Black_Hair"
    assert len(short("x" * 200)) == 30
