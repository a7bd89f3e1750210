"""What the columns of a Parquet file of images mean, as Hugging Face's datasets write them."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.errors import InputError

IMAGES, LABELS = ("image", "img"), ("label", "labels", "fine_label")


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Attributes:
        image: of the encoded images, binary or struct{bytes, path}.
        nested: whether it is the struct.
        label: of the number of the class, if there is one.
        classes: names of the classes, where the schema tells them.
        attributes: those of booleans.
    """

    image: str
    nested: bool
    label: str | None
    classes: tuple[str, ...]
    attributes: tuple[str, ...]

    @property
    def wanted(self) -> list[str]:
        """What is to be read."""
        image = f"{self.image}.bytes" if self.nested else self.image
        return [image, *([self.label] if self.label else []), *self.attributes]


def columns_of(where: str, schema: pa.Schema) -> Columns:
    """Finds them in a schema.

    Raises:
        InputError: there is no column of images, or several of which none is called image; or
            two columns have the same name.
    """
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise InputError(
            f"{where}: expected different names of columns, came {twice[0]!r} twice; rename one"
        )
    features = _features(schema.metadata or {})
    images = [field.name for field in schema if _holds_images(field.type)]
    marked = [name for name in images if _kind(features, name) == "Image"]
    image = _choose(marked or images, IMAGES)
    if image is None:
        came = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise InputError(
            f"{where}: expected one column of encoded images, binary or struct<bytes, path>, or "
            f"one named image, came {came[:200]}; rename or remove columns"
        )
    numbers = [field.name for field in schema if pa.types.is_integer(field.type)]
    labelled = [name for name in numbers if _kind(features, name) == "ClassLabel"]
    label = _choose(labelled or [name for name in numbers if name in LABELS], LABELS)
    names = features.get(label, {}).get("names") if label else None
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    flags = tuple(field.name for field in schema if pa.types.is_boolean(field.type))
    return Columns(image, pa.types.is_struct(schema.field(image).type), label, classes, flags)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_images(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _choose(names: list[str], preferred: tuple[str, ...]) -> str | None:
    """The only one, or the first of those preferred."""
    if len(names) == 1:
        return names[0]
    return next((name for name in preferred if name in names), None)


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(features: dict[str, Any], name: str) -> str | None:
    feature = features.get(name)
    return feature.get("_type") if isinstance(feature, dict) else None
