"""What `python -m stages.tracking replay` does: the spools that wait are sent, one by one."""

import os
from collections.abc import Callable
from pathlib import Path

from stages.delivery import Delivery, Server, reason, say, without_password
from stages.spool import SPOOLS, BrokenSpool, Spool, spool_folders


def send_what_waits(root: Path, server_at: Callable[[str | None], Server]) -> bool:
    """Sends what can be sent, and says what became of each; whether nothing was left or lost.

    Args:
        root: the project that holds the spools.
        server_at: the server of an address, or the project's own.
    """
    folders = spool_folders(root)
    if not folders:
        print(f"nothing to send: no run waits in {root / SPOOLS}")
    well, silent = True, set[str]()
    for folder in folders:
        try:
            spool = Spool.claim(folder)
        except BrokenSpool as error:
            say(f"error: {error}")
            well = False
            continue
        if spool is None:
            if folder.exists():
                print(f"left alone: {folder.name}, whose stage is still running")
            continue
        server = server_at(os.environ.get("MLFLOW_TRACKING_URI") or spool.opening["uri"])
        try:
            if server.uri in silent or not _sent(root, spool, server, silent):
                well = False
        finally:
            spool.release()
    return well


def _sent(root: Path, spool: Spool, server: Server, silent: set[str]) -> bool:
    """Whether it was; adds a server that does not answer to those that are `silent`."""
    try:
        Delivery(root, server).finish(spool)
    except Exception as error:
        if server.answers():
            say(f"error: {spool.folder} cannot be sent ({reason(error)}); it still waits")
        else:
            silent.add(server.uri)
            say(
                f"error: MLflow at {without_password(server.uri)} fails ({reason(error)}); "
                f"{spool.folder} and all after it still wait"
            )
        return False
    print(f"sent: {spool.opening['name']}, {spool.sent} operations, run {spool.run_id}")
    return True
