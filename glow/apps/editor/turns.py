"""One model for all who ask: one thing at a time, and the askers take turns."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

MAX_WAITING = 16  # of one asker

Result = TypeVar("Result")
_Job = tuple[asyncio.Future[Any], Callable[[], Any]]


class Busy(RuntimeError):
    """One asker has asked for too much at once."""


class Turns:
    """Works of many askers, done one after the other in one thread.

    Who has asked for much waits for who has asked for little: after each work it is the next
    asker's turn. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()  # who is next is first
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._going: asyncio.Task[None] | None = None

    async def take(self, who: str, work: Callable[[], Result]) -> Result:
        """The result of a work when it is done; Busy where `who` has too many waiting."""
        jobs = self._waiting.setdefault(who, deque())
        if len(jobs) >= MAX_WAITING:
            raise Busy(
                f"expected at most {MAX_WAITING} requests at once, came more; wait a little"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        jobs.append((future, work))
        if self._going is None or self._going.done():
            self._going = loop.create_task(self._go_round())
        return await future

    async def _go_round(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            who, jobs = self._waiting.popitem(last=False)
            future, work = jobs.popleft()
            if jobs:
                self._waiting[who] = jobs  # behind all others
            if future.done():  # nobody waits for it any more
                continue
            try:
                result = await loop.run_in_executor(self._thread, work)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)
