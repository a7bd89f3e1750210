"""A command of `python -m glow`, called in this process."""

from typer.testing import CliRunner

from glow.apps.cli import app

SIDE = 8  # of the model's images
NAMES = ("a", "b", "c", "d", "face", "other")  # of the images that are there


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output or result.exception
    return result.output


def refused(*arguments: str) -> str:
    output = run(*arguments, code=2)
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    return output
