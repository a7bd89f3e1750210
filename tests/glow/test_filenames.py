"""Names of files and keys from any text."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glow.filenames import AT_MOST, file_names, hashed, is_hashed

TEXTS = st.text(st.characters(codec=None), max_size=300)
HOSTILE = [
    "../../escaped",
    "/elsewhere/evil",
    "..",
    ".",
    "",
    ".hidden",
    "-rf",
    "con",
    "LPT1",
    "a\0b",
]


@pytest.mark.parametrize("name", ["Black_Hair", "5_o_Clock_Shadow", "0", "airplane"])
def test_a_plain_name_is_the_name_of_its_file(name: str) -> None:
    assert file_names([name, "other"])[name] == name


@given(st.lists(TEXTS, unique=True, max_size=8))
@example(HOSTILE)
@example(["Smiling", "smiling", "SMILING"])
@example(["é", "e\u0301"])
@example(["age<40", "age>40"])
@example(["猫" * 200, "猫" * 201, "\ud800", "\udfff"])
def test_every_name_has_a_file_of_its_own_in_its_folder(names: list[str]) -> None:
    found = file_names(names)
    assert list(found) == names
    folded = {unicodedata.normalize("NFD", name).casefold() for name in found.values()}
    assert len(folded) == len(names)
    for name in found.values():
        assert 0 < len(name.encode()) <= AT_MOST
        assert name[0] not in ".-"
        assert all(letter.isalnum() or letter in "_.-" for letter in name)
        assert name.upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


@given(TEXTS)
@example("Smiling-before")
def test_what_follows_a_hyphen_makes_a_name_no_other_name(name: str) -> None:
    found = file_names([name, "Smiling"])
    assert found[name] != "Smiling-before"


def test_what_can_be_read_is_kept() -> None:
    assert hashed("age < 40").startswith("age_40-")
    assert hashed("年齢").startswith("年齢-")
    assert hashed("年齢", ascii_only=True).startswith("_-")
    assert is_hashed(hashed("x\ny"))
    assert not is_hashed("valid_bits_per_dim")
