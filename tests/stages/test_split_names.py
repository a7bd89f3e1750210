"""Splits by the names of files, and names of classes by their labels."""

import pytest

from stages.errors import InputError
from stages.sources.facts import Facts, class_names
from stages.sources.source import NOT_TEST
from stages.sources.split_names import splits_by_name


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["train-0", "validation-0", "test-0"], ["train", "valid", "test"]),
        (["train/0", "val/0", "test/0"], ["train", "valid", "test"]),
        (["Train-0", "test-0"], [NOT_TEST, "test"]),
        (["train-0", "train-1", "dev-0"], [NOT_TEST, NOT_TEST, "test"]),
        (["test/train-0", "test/valid-0"], [NOT_TEST, "test"]),
        (["train-0", "train-1"], [None, None]),
        (["test-0", "val-0"], [None, None]),
        (["faces-0", "trainers-0"], [None, None]),
    ],
)
def test_what_the_last_word_says(files: list[str], splits: list[str | None]) -> None:
    assert list(splits_by_name("x", files).values()) == splits


def test_a_file_without_a_word_among_others() -> None:
    with pytest.raises(InputError, match=r"x: expected train, .* came faces-0; rename it"):
        splits_by_name("x", ["train-0", "faces-0"])


def test_equal_facts_are_held_once() -> None:
    facts = Facts()
    for number in range(100):
        facts.add({"odd": number % 2 == 1, f"own{number % 2}": True}, [], number % 3)
    assert facts.names() == ("odd", "own0", "own1")
    known = facts.attributes()
    assert known[:2] == [{"odd": False, "own0": True}, {"odd": True, "own1": True}]
    assert len({id(of_image) for of_image in known}) == 2
    assert class_names([], facts, "x") == ("class_0", "class_1", "class_2")
    assert class_names(["a", "b", "c", "d"], facts, "x") == ("a", "b", "c", "d")
    for names in (["a", "b"], ["a", "b", "a"]):
        with pytest.raises(InputError, match="x: expected different names of at least 3 classes"):
            class_names(names, facts, "x")
