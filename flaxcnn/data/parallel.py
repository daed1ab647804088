"""Work on many items in threads, in order, a bounded number ahead; and how that is shown."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

# Shows how far the work on items has come: takes the items, what is done with them, and how many there are, and
# gives the same items.
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]


def untracked(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """Show nothing."""
    return items


def in_order(function: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """Yield `function(item)` for every item, in the order of the items.

    At most four results a thread wait for the caller, so that memory does not grow with the number of items.

    Args:
        function: releases the interpreter's lock for most of its time, as Pillow's decoders and NumPy do.
        items: read as they are needed.
        workers: threads; with 0 the caller's own computes.
    """
    if workers == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
