"""Making batches ahead, in worker threads, delivered in order."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any


def prefetch(
    jobs: Iterator[Callable[[], Any]],
    workers: int,
    factor: int,
    timeout: float,
    start: Callable[[int], None] | None,
) -> Iterator[Any]:
    """The results of `jobs` in order, made by `workers` threads (0: by the caller), `factor` jobs per worker ahead.

    The iterator that yields the jobs runs in the caller's thread, so datasets that stream need no lock. An exception in
    a worker is raised here, when its batch is due; leaving the loop early drops the jobs that have not begun.
    """
    if workers == 0:
        return (job() for job in jobs)
    return threaded(jobs, workers, factor, timeout, start)


def threaded(
    jobs: Iterator[Callable[[], Any]],
    workers: int,
    factor: int,
    timeout: float,
    start: Callable[[int], None] | None,
) -> Iterator[Any]:
    numbers = itertools.count()
    pool = concurrent.futures.ThreadPoolExecutor(
        workers, "kernelgrad-loader", initializer=None if start is None else lambda: start(next(numbers))
    )
    waiting: deque = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) >= workers * factor:
                yield due(waiting.popleft(), timeout)
        while waiting:
            yield due(waiting.popleft(), timeout)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def due(future: concurrent.futures.Future, timeout: float) -> Any:
    try:
        return future.result(timeout or None)
    except concurrent.futures.TimeoutError:
        if future.done():  # the job itself raised a TimeoutError
            raise
        raise RuntimeError(f"DataLoader timed out after {timeout} seconds waiting for a batch") from None
