"""Shards that will be needed are fetched beside the reading of those that are."""

from collections.abc import Sequence
from threading import Event, Thread

from stages.errors import InputError, StageError
from stages.remote_shard import RemoteShard

END_SECONDS = 5.0  # for a shard on its way; it is lost if it takes longer


class Ahead:
    """A thread that fetches, one shard after another, what is asked for and not being fetched.

    It has no patience and says nothing: what could not be fetched is fetched again when it is
    needed, and said then. Nor does it remove from the cache what is about to be read.
    """

    def __init__(self) -> None:
        self._wanted: Sequence[RemoteShard] = ()
        self._asked = Event()
        self._ended = False
        self._thread: Thread | None = None

    def want(self, shards: Sequence[RemoteShard]) -> None:
        """These in this order, and no others any more."""
        self._wanted = shards
        self._asked.set()
        if self._thread is None and shards:
            self._ended = False
            self._thread = Thread(target=self._run, name="ahead", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread, after the shard that it is at if that comes soon."""
        self._ended = True
        self.want(())
        if self._thread is not None:
            self._thread.join(END_SECONDS)
            self._thread = None

    def _run(self) -> None:
        while not self._ended:
            self._asked.wait()
            self._asked.clear()
            wanted = self._wanted
            keys = [shard.sha256 for shard in wanted]
            for shard in wanted:
                if shard.cache.has(shard.sha256):
                    continue
                if self._asked.is_set() or not shard.cache.has_room_beside(keys):
                    break
                try:
                    shard.fetch_ahead()
                except (InputError, StageError):
                    break
