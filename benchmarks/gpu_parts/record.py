"""What a part has found, in its JSON file from the first finding on."""

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

from glow.atomic import write_atomically


class Skipped(Exception):
    """The part cannot run here; says what it lacks."""


class Record:
    """The JSON of a part, written whole after every finding.

    Args:
        file: to write.
        part: its name.
        began: when it was started, on the machine's monotonic clock.
        seconds: that it has.

    Attributes:
        content: part; status: running, done, skipped or failed; seconds; headline: the one line
            of the table; facts; tables: rows by name; warnings: of the log; traceback.
        listener: a logging handler that takes down warnings.
    """

    def __init__(self, file: Path, part: str, began: float, seconds: float) -> None:
        self._file, self._began, self._seconds = file, began, seconds
        self.content: dict[str, Any] = {
            "part": part,
            "status": "running",
            "seconds": 0.0,
            "headline": "",
            "facts": {},
            "tables": {},
            "warnings": [],
            "traceback": None,
        }
        self.listener = _Listener(self)
        self.write()

    @property
    def left(self) -> float:
        """Seconds until its process is ended."""
        return self._seconds - (time.monotonic() - self._began)

    def facts(self, **found: Any) -> None:  # noqa: ANN401 - JSON
        """Takes down numbers, texts, lists or dicts by name."""
        self.content["facts"] |= found
        self.write()

    def row(self, table: str, **found: Any) -> None:  # noqa: ANN401 - JSON
        """One more row of a table."""
        self.content["tables"].setdefault(table, []).append(found)
        print(table, json.dumps(_finite(found)), flush=True)
        self.write()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Those so far."""
        return self.content["tables"].get(table, [])

    def headline(self, text: str) -> None:
        """What the table of all parts says of this one."""
        self.content["headline"] = text
        self.write()

    def end(self, status: str, *, headline: str | None = None) -> None:
        """How it went."""
        self.content["status"] = status
        self.headline(self.content["headline"] if headline is None else headline)

    def note_traceback(self, text: str) -> None:
        """Of the error that ended it, or of one that did not."""
        self.content["traceback"] = text
        self.write()

    def write(self) -> None:
        """All of it."""
        self.content["seconds"] = round(time.monotonic() - self._began, 1)
        text = json.dumps(_finite(self.content), indent=1, allow_nan=False)
        write_atomically(self._file, (text + "\n").encode())


class _Listener(logging.Handler):
    """Warnings of the library: what was asked for and did not happen.

    Attributes:
        heard: how many.
    """

    def __init__(self, record: Record) -> None:
        super().__init__(logging.WARNING)
        self._record, self.heard = record, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Takes it down, the same one once."""
        self.heard += 1
        text = record.getMessage()
        if text not in self._record.content["warnings"]:
            self._record.content["warnings"].append(text)
            self._record.write()


def rounded(value: Any) -> Any:  # noqa: ANN401 - JSON
    """To four digits, if it is a number with more."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The same with None, JSON's word, for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
