"""The model that a stage is given fits the images that it is given."""

from pathlib import Path

import pytest

from glow import Glow, GlowConfig, save_glow
from stages.errors import InputError
from stages.shards import ShardSet
from stages.trained import load_model


def test_a_model_of_such_images_is_loaded(model: Path, shards: ShardSet) -> None:
    assert load_model(model, shards).config.image_size == shards.image_size


@pytest.mark.parametrize(
    ("image_size", "n_bits", "said"),
    [(16, 5, "16x16 images with 5 bits"), (8, 8, "8x8 images with 8 bits")],
)
def test_one_of_others_is_refused(
    tmp_path: Path, shards: ShardSet, image_size: int, n_bits: int, said: str
) -> None:
    config = GlowConfig(
        image_size=image_size, n_bits=n_bits, n_levels=2, depth=1, hidden_channels=4
    )
    save_glow(Glow(config), tmp_path / "other")
    with pytest.raises(InputError) as refused:
        load_model(tmp_path / "other", shards)
    assert str(refused.value) == (
        f"{tmp_path / 'other'} is a model of {said}, {shards.folder} has 8x8 images with 5 bits; "
        "`dvc repro train` makes one of these"
    )


def test_a_folder_without_one_is_refused(tmp_path: Path, shards: ShardSet) -> None:
    with pytest.raises(InputError, match="`dvc repro train` makes it"):
        load_model(tmp_path, shards)
