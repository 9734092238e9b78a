"""multiprocessing.Pool over all hosts of a cluster.

The methods, results and callbacks are the standard library's. What carries tasks is ours: the
standard workers share one queue and hold its lock while they wait, which costs several round trips
a task over a network, and hangs the pool when one of them is killed. Here the driver gives batches
to workers (_pool/handler.py) and knows who has what.

Better than the original: a killed worker's task raises WorkerLostError; an initializer that raises
ends the pool with that error instead of being tried for ever; results of a terminated pool raise
instead of hanging; imap takes no more from its iterable than its workers and its reader need.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from multiprocessing import pool as standard
from multiprocessing import util
from typing import Any

from . import _membership, _std
from ._parcels.common import Sharing, sharer, take_apart
from ._pool.handler import Handler
from ._pool.member import Member, new_number
from ._pool.progress import watch
from ._pool.worker import work
from ._std.choice import Choosing
from .context import cluster_context

__all__ = ["Pool"]

__getattr__ = _std.names_of("pool")
RUN, CLOSE, TERMINATE = standard.RUN, standard.CLOSE, standard.TERMINATE


class _Paced:
    """An imap iterator whose reader tells the handler that it has taken something."""

    _handler: Handler
    _limit: int | None = None  # chunks taken and not read

    def next(self, timeout: float | None = None) -> Any:
        try:
            item = super().next(timeout)  # type: ignore[misc]
        except BaseException:
            self._handler.poke()
            raise
        try:
            self._handler.poke()
        except BaseException:
            with self._cond:  # type: ignore[attr-defined]
                self._items.appendleft((True, item))  # type: ignore[attr-defined]
            raise
        return item

    __next__ = next


class _IMapIterator(_Paced, standard.IMapIterator):  # type: ignore[misc]
    pass


class _IMapUnorderedIterator(_Paced, standard.IMapUnorderedIterator):  # type: ignore[misc]
    pass


class Pool(standard.Pool, metaclass=Choosing):
    """Workers on all hosts. Arguments as the standard Pool's; `processes`: the cluster's slots."""

    _standard = standard.Pool
    _context_at = 4

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        self._state = RUN  # looked at by __del__, also when this raises
        self._pool: list[Any] = []
        context = self._ctx = context or cluster_context
        processes = context.cpu_count() if processes is None else operator.index(processes)
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._cache: dict[int, Any] = {}
        arguments, initial = take_apart(self._initargs) if initializer else ((), [])
        start = _Starter(context, initializer, arguments, maxtasksperchild)
        self._handler = Handler(self, start, initial)
        self._taskqueue = self._handler  # the standard methods put jobs into it
        self._terminate = util.Finalize(self, _terminate, args=(self._handler,), exitpriority=15)
        try:
            self._handler.start_all()
        except BaseException:
            self._state = TERMINATE
            self._handler.terminate()
            self._handler.start()
            raise
        self._handler.start()

    def _check_running(self) -> None:
        failure = self._handler.failure()
        if failure is not None:
            raise failure
        if self._state != RUN:
            raise ValueError("Pool not running")

    def map(
        self, func: Any, iterable: Any, chunksize: int | None = None, *, progress: bool = False
    ) -> Any:
        """As the standard map; `progress` shows a bar if standard error is a terminal."""
        result = self.map_async(func, iterable, chunksize)
        if progress:
            watch(result)
        return result.get()

    def _map_async(self, func: Any, iterable: Any, mapper: Any, *rest: Any, **more: Any) -> Any:
        """What map, starmap and their async forms have in common."""
        items = iterable if hasattr(iterable, "__len__") else list(iterable)
        common = sharer(items, starred=mapper is not _std.pool.mapstar)
        helper = mapper if common is None else Sharing(mapper, common)
        return super()._map_async(func, items, helper, *rest, **more)  # type: ignore[misc]

    def imap(
        self,
        func: Any,
        iterable: Any,
        chunksize: int | None = 1,
        *,
        buffersize: int | None = None,
    ) -> Any:
        """As map, but an iterator over the results, in order, while they come. At most `buffersize`
        items are taken from the iterable ahead of what was read of the results."""
        return self._imap(_IMapIterator, func, iterable, chunksize, buffersize)

    def imap_unordered(
        self,
        func: Any,
        iterable: Any,
        chunksize: int | None = 1,
        *,
        buffersize: int | None = None,
    ) -> Any:
        """As imap, in the order in which the results come."""
        return self._imap(_IMapUnorderedIterator, func, iterable, chunksize, buffersize)

    def _imap(
        self, kind: Any, func: Any, iterable: Any, chunksize: int | None, buffersize: int | None
    ) -> Any:
        self._check_running()
        if chunksize is None or chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        if buffersize is not None and operator.index(buffersize) < chunksize:
            raise ValueError(f"buffersize must hold a chunk ({chunksize}), not {buffersize}")
        result = kind(self)
        result._handler = self._handler
        result._limit = None if buffersize is None else buffersize // chunksize
        helper, items = func, iterable
        if chunksize > 1:
            helper, items = _std.pool.mapstar, _std.pool.Pool._get_tasks(func, iterable, chunksize)
        tasks = self._guarded_task_generation(result._job, helper, items)  # type: ignore[attr-defined]
        self._taskqueue.put((tasks, result._set_length))
        return result if chunksize == 1 else (item for chunk in result for item in chunk)

    def _repopulate_pool(self) -> None:
        """Asked by those who want ended workers replaced; the handler does it at once."""

    def close(self) -> None:
        """No new tasks; the workers end when the given ones are done."""
        if self._state == RUN:
            self._state = CLOSE
            self._handler.close()

    def terminate(self) -> None:
        """End the workers now; results that are not there yet raise WorkerLostError."""
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait until the workers have ended; after close() or terminate()."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        self._handler.join()

    def __del__(self, *args: Any) -> None:
        if self._state == RUN and hasattr(self, "_handler"):
            self._change_notifier = None  # the standard destructor warns and looks for it
            super().__del__(*args)  # type: ignore[misc]
            self._handler.terminate()


class _Starter:
    """Starts a worker; apart from the Pool, so that the handler does not keep that alive."""

    def __init__(
        self, context: Any, initializer: Any, initargs: tuple[Any, ...], tasks: int | None
    ) -> None:
        self._context = context
        self._work = (_membership.client().host, initializer, initargs, tasks, True)
        self._tasks = tasks

    def __call__(self, pool: int) -> Member:
        number = new_number()  # of the desk at which it and its agent meet
        process = self._context.Process(target=work, args=(number, *self._work))
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        process.start()
        try:
            return Member(process, pool, number, self._tasks)
        except BaseException:
            process.terminate()
            raise


def _terminate(handler: Handler) -> None:
    handler.terminate()
    if handler.is_alive():
        handler.join()
