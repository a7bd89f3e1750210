"""Overrides change the values they name, in the file they name, and nothing else of it."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.dag import choose, stage_order
from pipeline.errors import InputError
from pipeline.flow import overridden
from pipeline.overrides import override, parse_overrides

ROOT = Path(__file__).resolve().parents[2]
PARAMS = "number: 1\nrate: 2.0e-3\ncommands:\n  first: cp a b\n"


def read(text: str) -> Any:  # noqa: ANN401 - a YAML document
    return YAML(typ="safe").load(text)


def test_nothing_else_of_this_projects_params_is_touched() -> None:
    before = (ROOT / "params.yaml").read_text()
    after = override(before, {"model.depth": 16, "samples.temperatures": [0.7]})
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert changed == ["  depth: 16", "  temperatures: [0.7]"]
    assert len(after.splitlines()) == len(before.splitlines())


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]))
    | st.lists(st.floats(allow_nan=False))
)
def test_any_value_of_json_comes_back(value: object) -> None:
    assert read(override(PARAMS, {"rate": value}))["rate"] == value


def test_a_float_is_one_for_readers_of_yaml_1_1_too() -> None:
    assert "rate: 1.0e-05\n" in override(PARAMS, {"rate": 1e-5})
    assert math.isinf(read(override(PARAMS, {"rate": math.inf}))["rate"])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("numbr", r"'numbr' is not in params.yaml; did you mean number\?"),
        ("number.first", "'number.first' is not in params.yaml"),
        ("+new", r"'\+new' is not in params.yaml"),
        ("commands", "'commands' is a section of params.yaml; name a value, as commands.first"),
        ("", "'' is not in params.yaml"),
    ],
)
def test_a_key_that_is_not_there_is_refused(key: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        override(PARAMS, {key: 1})


def test_text_from_a_shell() -> None:
    typed = ["a.b=16", "c=[0.7, 1.0]", "d=1e-4", "e=affine", "f=null", "g=x=y"]
    expected = {"a.b": 16, "c": [0.7, 1.0], "d": 1e-4, "e": "affine", "f": None, "g": "x=y"}
    assert parse_overrides(typed) == expected


@pytest.mark.parametrize(
    ("typed", "message"), [("depth", "is no override; write key=value"), ("a=[1", "is not YAML")]
)
def test_text_that_is_no_override_is_refused(typed: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_overrides([typed])


@pytest.mark.parametrize("keep", [True, False])
def test_params_are_as_before_if_a_stage_is_refused(project: Path, *, keep: bool) -> None:
    before = (project / "params.yaml").read_bytes()
    with (
        pytest.raises(InputError, match="no stage"),
        overridden(project, {"number": 5}, keep=keep, say=print),
    ):
        choose(stage_order(project), ["nope"])
    assert (project / "params.yaml").read_bytes() == before


def test_the_order_is_that_of_the_new_params(project: Path) -> None:
    (project / "dvc.yaml").write_text(
        "stages: {draw: {foreach: '${temperatures}', do: {cmd: 'echo ${item}'}}}"
    )
    with overridden(project, {"temperatures": [0.25]}, keep=False, say=print):
        assert stage_order(project) == ["draw@0.25"]
