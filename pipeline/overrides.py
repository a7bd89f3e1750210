"""Changes of single values in params.yaml, with keys as in `dvc exp run -S model.depth=16`.

DVC's own function for this is internal, writes lists and nulls anew in the whole file, and fills
in `${oc.env:...}`; here every line but the changed ones stays as it was.
"""

import difflib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from pipeline.errors import InputError

PARAMS_FILE = "params.yaml"


class _Representer(RoundTripRepresenter):
    """Writes null and floats so that every reader of YAML takes them for what they are."""

    def represent_null(self, _: None) -> ScalarNode:
        return self._scalar("null", "null")

    def represent_number(self, value: float) -> ScalarNode:
        text: str = self.represent_float(value).value
        mantissa, *exponent = text.split("e")
        if exponent and "." not in mantissa:  # YAML 1.1 reads 1e-05 as text
            text = f"{mantissa}.0e{exponent[0]}"
        return self._scalar("float", text)

    def _scalar(self, kind: str, text: str) -> ScalarNode:
        node: ScalarNode = self.represent_scalar(f"tag:yaml.org,2002:{kind}", text)
        return node


_Representer.add_representer(type(None), _Representer.represent_null)
_Representer.add_representer(float, _Representer.represent_number)


def parse_overrides(settings: Iterable[str]) -> dict[str, Any]:
    """Reads `key=value` as typed in a shell; values are YAML: `0.5`, `[0.7, 1.0]`, `affine`.

    Raises:
        InputError: there is no `=`, or the value is not YAML.
    """
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"{setting!r} is no override; write key=value, as in model.depth=16")
        try:
            overrides[key.strip()] = YAML(typ="safe").load(value)
        except YAMLError:
            raise InputError(
                f"the value in {setting!r} is not YAML; put quotes around it"
            ) from None
    return overrides


def override(text: str, overrides: Mapping[str, Any]) -> str:
    """The text of params.yaml with other values at some keys, and its comments kept.

    Raises:
        InputError: a key is not there, or is a section; or the text is not YAML.
    """
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        params = yaml.load(text)
    except YAMLError as error:
        raise InputError(f"{PARAMS_FILE} is not YAML: {' '.join(str(error).split())}") from None
    for key, value in overrides.items():
        _set(params, key, value)
    written = io.StringIO()
    yaml.dump(params, written)
    return written.getvalue()


def write_atomically(file: Path, content: bytes) -> None:
    """The file has all of the content or what it had before, whatever happens meanwhile."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut may leave it empty under its new name
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _set(params: Any, key: str, value: Any) -> None:  # noqa: ANN401 - a YAML document
    *sections, name = key.split(".")
    section = params
    for part in sections:
        section = section.get(part) if isinstance(section, dict) else None
    if not isinstance(section, dict) or name not in section:
        near = difflib.get_close_matches(key, list(_keys(params)), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{key!r} is not in {PARAMS_FILE}{hint}")
    if isinstance(section[name], dict):
        inner = next(iter(_keys(section[name])), "...")
        raise InputError(f"{key!r} is a section of {PARAMS_FILE}; name a value, as {key}.{inner}")
    if isinstance(section[name], list) and isinstance(value, list):
        section[name][:] = value  # stays on one line, where it was
    else:
        section[name] = value


def _keys(params: Any) -> Iterable[str]:  # noqa: ANN401 - a YAML document
    for name, value in params.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in _keys(value))
        else:
            yield str(name)
