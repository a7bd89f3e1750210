"""Processes that do one job after another, and may die of one without anybody waiting for ever.

They are forked from a server that has imported the modules they need, so that another one costs
milliseconds. A process whose parent is gone ends at once.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from stages.errors import InputError

Job = TypeVar("Job")

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Done(Generic[Job]):
    """What became of a job: all went well, or an error was raised, or the process is dead."""

    job: Job
    error: Exception | None = None
    death: str | None = None


@dataclass
class _Worker(Generic[Job]):
    process: BaseProcess
    connection: Connection
    job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(BrokenPipeError):  # it is dead, as take() will say
            self.connection.send(job)

    def take(self) -> Done[Job]:
        assert self.job is not None
        job, self.job = self.job, None
        try:
            return Done(job, self.connection.recv())
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Done(job, death=_how(self.process.exitcode))

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def do_all(
    work: Callable[[Job], None],
    jobs: Iterable[Job],
    processes: int,
    watch: Callable[[], None],
    *,
    preload: str,
) -> Iterator[Done[Job]]:
    """Does jobs in so many processes, and yields them as they are done; a dead one is replaced.

    Args:
        work: a function of a module, picklable.
        jobs: picklable; taken as processes are free.
        processes: how many.
        watch: called where nothing is done for a second.
        preload: a module to import once for all processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    waiting = iter(jobs)
    busy: list[_Worker[Job]] = []
    try:
        for _, job in zip(range(processes), waiting, strict=False):
            busy.append(_start(context, work))
            busy[-1].give(job)
        while busy:
            if not (ready := wait([worker.connection for worker in busy], POLL_SECONDS)):
                watch()
            for worker in [worker for worker in busy if worker.connection in ready]:
                done = worker.take()
                yield done
                following = next(waiting, None)
                if done.death is not None or following is None:
                    worker.end()
                    busy.remove(worker)
                    if following is None:
                        continue
                    worker = _start(context, work)
                    busy.append(worker)
                worker.give(following)
    finally:
        for worker in busy:
            worker.end()


def _start(
    context: multiprocessing.context.ForkServerContext, work: Callable[[Job], None]
) -> _Worker[Job]:
    ours, theirs = context.Pipe()
    environment = dict(os.environ)  # that of the server may be older
    process = context.Process(target=_serve, args=(theirs, work, environment), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process ends the connection
    return _Worker(process, ours)


def _serve(
    connection: Connection, work: Callable[[Job], None], environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent's to answer
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    with suppress(EOFError):
        while True:
            job = connection.recv()
            try:
                work(job)
                connection.send(None)
            except (InputError, OSError) as error:
                connection.send(error)
            except Exception:  # of a library, and who knows whether it can be pickled
                connection.send(RuntimeError(traceback.format_exc()))


def _end_with(parent: int) -> None:
    wait([parent])
    os._exit(1)


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
