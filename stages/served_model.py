"""The model as MLflow serves it: rows with images or a number in, rows with PNGs or bits out.

MLflow stores this file beside the weights and runs it to load the model ("models from code"), so
nothing is pickled. It is the one stages module besides tracking that imports mlflow, and the only
one at its top: nothing but MLflow loads it. What it imports is stored too: `glow`, nothing else.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

ACTIONS = ("sample", "score", "reconstruct", "edit")
DEFAULTS = {
    "action": "sample",
    "temperature": 0.7,
    "seed": 0,
    "attribute": "",
    "alpha": 1.0,
    "n_dequantizations": 1,
}


class GlowModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped for mypy
    """A trained Glow; `params["action"]` says what is asked of it.

    - `sample`: one row with `n_images`; params temperature, seed. Gives `png` per image.
    - `score`: a row per `image`; params n_dequantizations, seed. Gives `bits_per_dim`, `log_prob`.
    - `reconstruct`: a row per `image`. Gives `png`, and `max_difference` from the pixels that the
      model was given, which are those of the image in the model's size and bits.
    - `edit`: a row per `image`; params attribute, alpha. Gives `png`.

    Images are PNG, JPEG or WebP files in base64, of any size. A model with classes also wants a
    column `class`; to sample, it takes them in turn without.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the weights, and the attribute vectors if they have been added by now."""
        from glow.apps.actions import Actions

        self._actions = Actions.load(Path(context.artifacts["glow"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Does one action for all rows.

        Raises:
            MlflowException: a column is missing, an image is none, a number is out of range; the
                server answers 400 with its message.
        """
        from glow.apps.uploads import BadRequest

        try:
            return self._perform(model_input, {**DEFAULTS, **(params or {})})
        except BadRequest as error:
            raise Refusal.of(str(error)) from None

    def _perform(self, rows: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        from glow.apps.uploads import BadRequest, read_levels, to_png

        do, seed, action = self._actions, int(params["seed"]), params["action"]
        if action not in ACTIONS:
            raise BadRequest(f"action is {action!r}, expected one of {', '.join(ACTIONS)}")
        if action == "sample":
            n = _n_images(rows)
            labels = do.labels(_column(rows, "class"), n, needed=False)
            x = do.sample(n, labels, temperature=float(params["temperature"]), seed=seed)
            return pd.DataFrame({"png": list(map(to_png, x))})
        images = _column(rows, "image")
        if images is None:
            raise BadRequest(f"{action} needs a column image, came {_names(rows)}")
        labels = do.labels(_column(rows, "class"), len(rows), needed=True)
        levels = read_levels(images, do.glow.config)
        if action == "score":
            n_draws = int(params["n_dequantizations"])
            scores = do.score(levels, labels, n_dequantizations=n_draws, seed=seed)
            return pd.DataFrame(
                {
                    "bits_per_dim": scores.bits_per_dim.numpy(),
                    "log_prob": scores.log_prob.numpy(),
                }
            )
        if action == "reconstruct":
            x = do.reconstruct(levels, labels, seed=seed)
            difference = (x.int() - do.pixels(levels).int()).abs().flatten(1).amax(dim=1)
            return pd.DataFrame(
                {"png": list(map(to_png, x)), "max_difference": difference.long().numpy()}
            )
        attribute, alpha = str(params["attribute"]), float(params["alpha"])
        x = do.edit(levels, labels, amounts={attribute: alpha}, seed=seed)
        return pd.DataFrame({"png": list(map(to_png, x))})


class Refusal(mlflow.MlflowException):  # type: ignore[misc]  # mlflow is untyped for mypy
    """An answer of one line: MLflow's server would put the whole input in front of it."""

    @classmethod
    def of(cls, message: str) -> "Refusal":
        """Which the server answers with status 400."""
        refusal: Refusal = cls.invalid_parameter_value(message)
        return refusal

    @property
    def message(self) -> str:
        """What the model said."""
        return str(self._message)

    @message.setter
    def message(self, message: str) -> None:
        self.__dict__.setdefault("_message", message)


def _n_images(rows: pd.DataFrame) -> int:
    from glow.apps.uploads import BadRequest

    counts = _column(rows, "n_images")
    if counts is None or len(counts) != 1 or counts[0] is None:
        raise BadRequest(
            f"sample needs one row with a column n_images, came {len(rows)} with {_names(rows)}"
        )
    return int(counts[0])


def _column(rows: pd.DataFrame, name: str) -> list[Any] | None:
    """Its values, missing ones as None; None where there is no such column, or all are missing."""
    if name not in rows or rows[name].isna().all():
        return None
    return [None if pd.isna(value) else value for value in rows[name]]


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(map(str, rows.columns)) or "no columns"


mlflow.models.set_model(GlowModel())
