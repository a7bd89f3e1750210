"""All shards of a data set, made in several processes, whatever images do to them."""

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from stages import bad_images
from stages.crew import Done, do_all
from stages.environment import number
from stages.errors import StageError
from stages.listing import Listing
from stages.params import DataParams
from stages.progress import progress
from stages.shard_maker import Order, make_shard, stopped_by
from stages.sources.source import Source
from stages.unfinished import Made, Unfinished

LEAST = 32  # images that are worth a process


def make_shards(
    source: Source, listing: Listing, data: DataParams, into: Unfinished
) -> dict[str, Made]:
    """Makes the shards that are not finished yet.

    Returns:
        What is known of each shard, by name, in the order of the listing.

    Raises:
        InputError: an image cannot be read and that is to stop it, or too many cannot.
        StageError: the disk is full, what is finished is kept; or processes die of no image.
    """
    total, stop_at_bad = len(listing.entries), data.on_error == "raise"
    known: dict[str, Made] = {}
    skipped: dict[str, str] = {}
    finished = shown = 0

    def keep(name: str, made: Made, size: int) -> None:
        nonlocal finished
        finished += size
        known[name] = made
        skipped.update(made.skipped)
        if skipped and stop_at_bad:
            raise stopped_by(*next(iter(skipped.items())))
        bad_images.check(skipped, total, data.max_bad)

    missing = []
    for shard in listing.shards:
        made = into.made(shard)
        if made is None:
            missing.append(shard)
        else:
            keep(shard.name, made, len(shard.places))
    if known and missing:
        about = f"{len(known)} of {len(listing.shards)} shards are finished in {into.shards}"
        print(f"goes on: {about}", file=sys.stderr, flush=True)
    shown = finished
    with progress("preprocess", total, "images", start=shown) as advance:

        def watch() -> None:
            nonlocal shown
            read = finished + sum(into.positions())
            if read > shown:
                advance(read - shown)
                shown = read

        names = source.attribute_names, source.classes
        orders = (
            Order(source, *names, data.n_bits, stop_at_bad, shard, listing.members(shard), into)
            for shard in missing
        )
        survived = _survived(orders, processes(total), watch, total, data.max_bad)
        with closing(survived):  # an error in here ends the processes, too
            for order in survived:
                made = into.made(order.shard)
                if made is None:
                    raise StageError(f"{into.file(order.shard)} is gone; what removed it?")
                keep(order.shard.name, made, len(order.entries))
                watch()
    return {shard.name: known[shard.name] for shard in listing.shards}


def processes(n_images: int) -> int:
    """As many as there are cores to run on (GLOW_WORKERS overrides), fewer for few images."""
    wanted = number("GLOW_WORKERS", "a number of processes, 0 for one per core")
    cores = wanted or len(os.sched_getaffinity(0))
    return max(1, min(cores, n_images // LEAST))


def _survived(
    orders: Iterable[Order], n: int, watch: Callable[[], None], total: int, max_bad: float
) -> Generator[Order, None, None]:
    """Orders as they are done; those that a process died of last, without the image it died of."""
    died = []
    for done in _do(orders, n, watch):
        if done.death is None:
            yield done.job
        else:
            died.append(done.job)
    for order in died:  # alone: it may be that memory was short, and that no image is to blame
        (done,) = _do([order], 1, watch)
        while done.death is not None:
            order = _without_the_killer(order, done.death)
            killers = {order.entries[at].name: why for at, why in order.known_bad.items()}
            bad_images.check(killers, total, max_bad)
            (done,) = _do([order], 1, watch)
        yield order


def _do(orders: Iterable[Order], n: int, watch: Callable[[], None]) -> Iterator[Done[Order]]:
    for done in do_all(make_shard, orders, n, watch, preload=make_shard.__module__):
        if isinstance(done.error, OSError):
            raise StageError(
                f"a shard cannot be written: {done.error}; make room: the finished ones are kept, "
                "and the next run goes on from them"
            )
        if done.error is not None:
            raise done.error
        yield done


def _without_the_killer(order: Order, death: str) -> Order:
    position = order.into.position(order.shard)
    if position is None or position in order.known_bad or position == len(order.entries):
        raise StageError(
            f"a process that makes {order.shard.name} is ended {death}, by no image; if memory is "
            "short, set GLOW_WORKERS to fewer processes"
        )
    why = f"expected an image that can be decoded, came one whose reader is ended {death}"
    return replace(order, known_bad={**order.known_bad, position: why})
