"""One part in this process: `python -m gpu_parts fast SETTINGS`.

Whatever happens, the part's JSON says how it ended. A part that hangs is ended a little before
its time is up, by a thread that needs no Python, after it has said where it was.
"""

import faulthandler
import importlib
import logging
import sys
import traceback

from gpu_parts.record import Record, Skipped
from gpu_parts.settings import Settings

LAST_SECONDS = 2.0


def main(part: str, text: str) -> int:
    """Runs it; 0 unless it failed."""
    settings = Settings.parse(text)
    faulthandler.enable()
    record = Record(settings.out / f"{part}.json", part, settings.began, settings.seconds)
    faulthandler.dump_traceback_later(max(1.0, record.left - LAST_SECONDS), exit=True)
    logging.getLogger().addHandler(record.listener)
    try:
        importlib.import_module(f"gpu_parts.{part}").run(settings, record)
    except Skipped as reason:
        record.end("skipped", headline=str(reason))
    except Exception as error:
        traceback.print_exc()
        record.end("failed", headline=f"{type(error).__name__}: {first_line(error)}")
        record.note_traceback(traceback.format_exc())
        return 1
    else:
        record.end("done")
    return 0


def first_line(error: BaseException) -> str:
    """Of its message."""
    return (str(error).splitlines() or [""])[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
