"""What the page asks for: faces, and how to draw them. Everything is checked before it is used."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glow.apps.uploads import BadRequest

MAX_ALPHA = 4.0  # of an edit; the page's sliders go half as far
MAX_TEMPERATURE = 2.0
MAX_SIDE = 1024  # of a picture that is sent, in pixels

Alpha = Annotated[float, Field(ge=-MAX_ALPHA, le=MAX_ALPHA, allow_inf_nan=False)]


class _Wish(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Drawn(_Wish):
    """A face that the model draws: the same seed is the same noise at each temperature."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    temperature: Annotated[float, Field(ge=0.0, le=MAX_TEMPERATURE, allow_inf_nan=False)]
    label: str | None = None  # of a model with classes


class Uploaded(_Wish):
    """A face that was uploaded before in this session."""

    upload: str


class Look(_Wish):
    """A face, a way towards another, and attributes added: `(1 - t) a + t b + sum alpha v`."""

    base: Drawn | Uploaded
    other: Drawn | Uploaded | None = None
    morph: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.0
    edits: dict[str, Alpha] = Field(default_factory=dict)
    scale: Annotated[int, Field(ge=1, le=64)] = 1  # pixels of the picture per pixel of the model


def read_look(body: bytes) -> Look:
    """A look from JSON; BadRequest says in a line what is wrong with it."""
    try:
        return Look.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise BadRequest(f"{where}: {first['msg']}") from None
