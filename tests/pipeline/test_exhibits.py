"""What Prefect's UI shows of a stage: names from data are text there, and each has its own key."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.exhibits import keys, markdown, text

HOSTILE = ["<img src=x onerror=alert(1)>", "[a](javascript:b)", "a|b", "a\nb", "__init__", "`a`"]
HOSTILE += [
    "&lt;b&gt;",
    "![a](b)",
    "~~a~~",
    "https://a.example",
    "\\|",
    "- a",
    "# a",
    "Black_Hair",
]
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def cells(table: str) -> list[str]:
    """The texts of the cells of the body; no tag but a table's."""
    tokens = MARKDOWN.parse(table)
    body = tokens[[token.type for token in tokens].index("tbody_open") :]
    inline = [token.children or [] for token in body if token.type == "inline"]
    assert {child.type for children in inline for child in children} <= {"text", "text_special"}
    return ["".join(child.content for child in children) for children in inline]


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
        min_size=1,
        unique=True,
    )
)
@example(HOSTILE)
def test_names_are_text_in_a_table(names: list[str]) -> None:
    table = markdown(dict.fromkeys(names, 0.5) | {"nested": {names[0]: 1}})
    shown = cells(table)[: 2 * len(names)]
    assert shown == [cell for name in names for cell in (" ".join(name.split()), "0.5")]


@pytest.mark.parametrize("name", ["Black_Hair-estimators.png", "bits_per_dim", "test.bits"])
def test_plain_names_need_no_backslash(name: str) -> None:
    assert text(name) == name


@pytest.mark.parametrize("name", ["www.a.example", "https://a.example", "a@b.example"])
def test_names_are_no_links(name: str) -> None:
    assert not re.search(r"www\.|://|[^\\]@", text(name))


def test_names_that_differ_have_keys_that_differ() -> None:
    assert keys("attributes", ["Black_Hair", "success-leakage"]) == [
        "attributes-black-hair",
        "attributes-success-leakage",
    ]
    names = ["a_b", "a-b", "A__b", "a"]
    found = keys("attributes", names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", key) for key in found)
