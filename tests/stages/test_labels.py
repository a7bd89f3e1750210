"""From attributes to classes, and a conditional model through its stages."""

from pathlib import Path

import pytest
import torch
from training import OUTS, Training

from glow import load_glow
from glow.marks import UNKNOWN
from stages.errors import InputError
from stages.labels import classes_of, labels_of
from stages.shards import ShardSet

NAMES = ["cat", "dog", "hat"]
PRESENT = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.bool)


def test_an_attribute_makes_two_classes() -> None:
    classes = classes_of("hat")
    assert classes == ("not hat", "hat")
    labels = labels_of(classes, NAMES, PRESENT)
    assert labels is not None
    assert labels.tolist() == [0, 1, 1]


def test_exclusive_attributes_make_as_many_classes() -> None:
    labels = labels_of(classes_of(["dog", "cat"]), NAMES, PRESENT)
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    assert labels_of(classes_of(None), NAMES, PRESENT) is None


def test_an_image_of_which_a_class_is_unknown_may_have_another() -> None:
    marks = PRESENT.to(torch.int8)
    marks[0, 1] = UNKNOWN
    labels = labels_of(classes_of(["dog", "cat"]), NAMES, marks)
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="dog is not known of 1 of 3 images, expected it of all"):
        labels_of(classes_of("dog"), NAMES, marks)
    marks[0, 0] = UNKNOWN
    with pytest.raises(InputError, match="1 of 3 images have none or several of dog, cat"):
        labels_of(classes_of(["dog", "cat"]), NAMES, marks)


@pytest.mark.parametrize(
    ("conditional", "message"),
    [
        ("cap", "names cap, expected attributes of the data set; there are: cat, dog, hat"),
        (["cat", "hat"], "1 of 3 images have none or several of cat, hat, expected exactly one"),
    ],
)
def test_classes_that_are_none_are_refused(conditional: str | list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        labels_of(classes_of(conditional), NAMES, PRESENT)


@pytest.mark.slow
def test_a_conditional_model_trains_and_learns_the_class(tmp_path: Path, shards: ShardSet) -> None:
    training = Training.new(
        tmp_path / "p",
        shards.folder,
        **{"model.conditional": "Pale_Skin", "train.class_weight": 1.0, "train.steps": 150},
    )
    training.finish()
    glow = load_glow(training.folder / OUTS[0])
    assert glow.config.classes == ("not Pale_Skin", "Pale_Skin")
    levels, present = shards.load("train")
    labels = labels_of(glow.config.classes, shards.attribute_names, present)
    assert labels is not None
    with torch.inference_mode():
        said = glow((levels + 0.5) / 32 - 0.5, labels)
        guesses = glow.top.logits(said.top).argmax(dim=1)
    accuracy = float((guesses == labels).double().mean())
    majority = float(torch.bincount(labels).max()) / len(labels)
    assert accuracy > majority + 0.1
