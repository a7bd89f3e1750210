"""params.yaml: what is wrong with it is said in one line that names the key."""

from pathlib import Path

import pytest
from tiny import ROOT

from stages.errors import InputError
from stages.params import load_params

GOOD = (ROOT / "params.yaml").read_text(encoding="utf-8")


def written(folder: Path, text: str) -> Path:
    file = folder / "params.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_committed_file_is_good(tmp_path: Path) -> None:
    assert load_params(written(tmp_path, GOOD)).data.source == "avatars"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("  depth:", "  dept:", "model.dept is not a known key"),
        (
            "learning_rate: ",
            "learning_rate: 'x' #",
            "train.learning_rate is 'x', expected a valid number",
        ),
        ("n_bits: 5", "n_bits: 9", "data.n_bits is 9, expected less than or equal to 8"),
        ("n_bits: 5", "n_bits: 5.0", "data.n_bits is 5.0"),
        ("image_size: 32", "image_size: 36", "data.image_size is 36, expected a multiple of 8"),
        ("source: avatars", "source: avatar", "data.source is 'avatar'"),
        ("conditional: null", "conditional: [a]", "model: conditional is ['a'], expected an attr"),
        ("conditional: null", "conditional: [a, b, a]", "a list of two or more different ones"),
        ("temperatures: [0.0,", "temperatures: [0.001, 0.0,", "each once, to two decimals"),
        ("seed: 0", "seed: 4294967296", "seed is 4294967296, expected less than 4294967296"),
        ("seed: 0", "seed: [", "is not YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as error:
        load_params(written(tmp_path, GOOD.replace(old, new, 1)))
    assert line in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="git checkout"):
        load_params(tmp_path / "params.yaml")
