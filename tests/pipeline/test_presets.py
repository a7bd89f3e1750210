"""Presets are whole params files, and putting one in place loses nothing."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import InputError
from pipeline.preset import PRESETS, presets, use_preset
from stages.params import load_params

ROOT = Path(__file__).resolve().parents[2]
GIT = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]

every_preset = pytest.mark.parametrize(
    "file", sorted(PRESETS.glob("*.yaml")), ids=lambda f: f.stem
)


def structure(params: Any) -> Any:  # noqa: ANN401 - a YAML document
    """The keys in their order, without the values."""
    if isinstance(params, dict):
        return [(key, structure(value)) for key, value in params.items()]
    return None


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose params.yaml is committed."""
    (tmp_path / "params.yaml").write_text("number: 1\n")
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*GIT, *command], cwd=tmp_path, check=True)
    return tmp_path


@every_preset
def test_a_preset_has_the_keys_of_params_yaml(file: Path) -> None:
    yaml = YAML(typ="safe")
    assert structure(yaml.load(file)) == structure(yaml.load(ROOT / "params.yaml"))


@every_preset
def test_a_preset_has_the_comments_of_params_yaml(file: Path) -> None:
    def comments(of: Path) -> list[str]:
        return [
            line.partition("#")[2].strip() for line in of.read_text().splitlines() if "#" in line
        ]

    first, *rest = comments(file)
    assert first.endswith(".")
    assert rest == comments(ROOT / "params.yaml")


@every_preset
def test_the_stages_take_a_preset_which_is_other_than_the_defaults(file: Path) -> None:
    assert load_params(file) != load_params(ROOT / "params.yaml")


def test_every_preset_says_what_it_is_for() -> None:
    assert {"tiny", "photographs"} <= presets().keys()
    assert presets()["photographs"].startswith("Your own photographs")


def test_committed_params_are_replaced(checkout: Path) -> None:
    use_preset("tiny", checkout)
    assert (checkout / "params.yaml").read_bytes() == (PRESETS / "tiny.yaml").read_bytes()


def test_one_preset_after_another_loses_nothing(checkout: Path) -> None:
    use_preset("tiny", checkout)
    use_preset("photographs", checkout)
    assert load_params(checkout / "params.yaml").data.source == "folder"


def test_uncommitted_changes_are_kept_unless_forced(checkout: Path) -> None:
    (checkout / "params.yaml").write_text("number: 2\n")
    with pytest.raises(InputError, match="uncommitted changes"):
        use_preset("tiny", checkout)
    assert (checkout / "params.yaml").read_text() == "number: 2\n"
    use_preset("tiny", checkout, force=True)
    load_params(checkout / "params.yaml")


def test_params_that_git_does_not_hold_are_kept(tmp_path: Path, checkout: Path) -> None:
    outside = checkout / "untracked"
    outside.mkdir()
    (outside / "params.yaml").write_text("number: 3\n")
    with pytest.raises(InputError, match="uncommitted changes"):
        use_preset("tiny", outside)


def test_no_params_at_all_is_a_place_for_a_preset(tmp_path: Path) -> None:
    use_preset("tiny", tmp_path)
    assert (tmp_path / "params.yaml").read_bytes() == (PRESETS / "tiny.yaml").read_bytes()


def test_an_unknown_preset_is_refused_with_the_known_ones(checkout: Path) -> None:
    with pytest.raises(InputError, match=r"'huge' is no preset; there are .*tiny"):
        use_preset("huge", checkout)
