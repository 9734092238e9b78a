"""The tasks of a pool that no worker has: taken from their iterables when somebody wants them."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from multiprocessing.pool import IMapIterator, MapResult
from typing import Any

from .._parcels.common import Calls, Sharer, Sharing
from .._parcels.parcel import Blob, Packer
from .member import FRAME_BYTES, Function, Task
from .worker import split

FUNCTIONS = 64  # kept between jobs,
LARGE = 1 << 20  # if they have not more bytes than this

Raw = tuple[int, int, Any, tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass
class Flow:
    """A job whose tasks are still being taken from their iterable."""

    tasks: Iterator[Raw]
    set_length: Callable[[int], None] | None
    result: Any = None  # of an imap: its reader sets the pace
    call: Raw | None = None  # it is a single one
    last: int = -1
    total: int = 1  # tasks, once one was taken

    def room(self, workers: int) -> int:
        """How many tasks may be taken now, as far as is known."""
        result = self.result
        if isinstance(result, IMapIterator):
            limit = getattr(result, "_limit", None) or 4 * workers
            read = result._index - len(result._items)  # type: ignore[attr-defined]
            return int(limit - (self.last + 1 - read))
        return max(1, self.total - 1 - self.last)  # 1: its end is to be seen


class TaskQueue:
    """`results` are what the pool's users wait for, by job."""

    def __init__(self, results: dict[int, Any], workers: int) -> None:
        self._results = results
        self._workers = workers
        self._flows: collections.deque[Flow] = collections.deque()
        self._returned: collections.deque[Task] = collections.deque()
        self._by_id: dict[int, Function] = {}
        self._functions: dict[bytes, Function] = {}  # by the digest of their pickles
        self._sharers: dict[int, Sharer] = {}  # by job
        self._calls = Calls()
        self._packer = Packer()

    def __bool__(self) -> bool:
        return bool(self._flows or self._returned)

    @property
    def flows(self) -> bool:
        """Whether there may be tasks that were not taken yet."""
        return bool(self._flows)

    def add(self, new: list[Flow]) -> bool:
        """Take new jobs; is there a call whose large argument no other call names yet?"""
        self._flows.extend(new)
        calls = [flow.call for flow in new if flow.call is not None]
        return any([self._calls.expect(job, (*a, *k.values())) for job, _, _, a, k in calls])

    # -- taking -------------------------------------------------------------------------------

    def next(self) -> Task | None:
        while self._returned:
            task = self._returned.popleft()
            if self.wanted(task):
                return task
        for _ in range(len(self._flows)):
            flow = self._flows[0]
            if flow.room(self._workers) <= 0:
                self._flows.rotate(-1)
                continue
            found = self._from_flow(flow)
            if found is not None:
                return found
        return None

    def _from_flow(self, flow: Flow) -> Task | None:
        """The next task of a flow; None and the flow is done when there is none."""
        for job, part, function, args, kwds in flow.tasks:
            result = self._results.get(job)
            if result is None:
                break  # nobody waits for it any more
            if flow.last < 0:
                flow.total = getattr(result, "_number_left", 1)
            flow.last = part
            packer = self._packer
            if isinstance(function, Sharing):
                packer = self._sharers[job] = function.sharer
                function = function.helper
            try:
                kind, inner, arguments = split(function, args)
                if packer is self._packer and self._has_shared(flow, job, kind, arguments, kwds):
                    packer = self._calls
                function = self._pickled(inner)
                parcel = packer.pack((kind, arguments, kwds))
                return Task(job, part, function, parcel, packer.used)
            except Exception as error:
                result._set(part, (False, error))
        if flow.set_length is not None:
            flow.set_length(flow.last + 1)
        self._flows.popleft()
        return None

    def _has_shared(self, flow: Flow, job: int, kind: str, args: Any, kwds: Any) -> bool:
        if flow.call is None and not isinstance(flow.result, IMapIterator):
            return False  # a map has looked for itself
        values = (*args, *kwds.values())
        if flow.call is None:
            self._calls.expect(job, values)
        return self._calls.has(job, values)

    def _pickled(self, value: Any) -> Function:
        """Made once for a function object, and sent once for its content."""
        function = self._by_id.get(id(value))
        if function is None:
            parcel = self._packer.pack(value)
            parcel.keep()
            digest = hashlib.sha256(b"".join(parcel.pieces)).digest()
            function = self._functions.get(digest)
            if function is None:
                function = self._functions[digest] = Function(value, digest, parcel)
            else:
                function.values.append(value)
            self._by_id[id(value)] = function
        return function

    def more_like(self, first: Task, room: int) -> list[Task]:
        """The task and up to room - 1 others of its function; a large one goes alone."""
        tasks, size = [first], first.parcel.size
        while len(tasks) < room and size < FRAME_BYTES:
            task = self.next()
            if task is None:
                break
            size += task.parcel.size
            alike = task.function is first.function and task.shared == first.shared
            if not alike or size > FRAME_BYTES:
                self._returned.appendleft(task)
                break
            tasks.append(task)
        return tasks

    def share(self, size: int) -> int:
        """As many of `size` tasks as leave something for the other workers."""
        there = len(self._returned) + len(self._flows)
        if self._flows:
            there += max(0, self._flows[0].room(self._workers) - 1)
        return max(1, min(size, -(-there // (2 * self._workers))))

    def put_back(self, task: Task) -> None:
        self._returned.appendleft(task)

    def give_back(self, tasks: list[Task]) -> None:
        """Tasks that a worker had, in their old order."""
        every = sorted([*self._returned, *tasks], key=lambda task: task.order)
        self._returned = collections.deque(every)

    # -- ends ---------------------------------------------------------------------------------

    def wanted(self, task: Task) -> bool:
        return task.job in self._results

    def set(self, task: Task, good: bool, value: Any) -> None:
        result = self._results.get(task.job)
        if result is not None:
            result._set(task.part, (good, value))

    def fail_all(self, error: BaseException, new: list[Flow]) -> None:
        for flow in [*self._flows, *new]:
            if isinstance(flow.result, IMapIterator) and flow.set_length is not None:
                flow.result._set(flow.last + 1, (False, error))  # type: ignore[attr-defined]
                flow.set_length(flow.last + 2)
        for result in list(self._results.values()):
            parts = getattr(result, "_number_left", int(not isinstance(result, MapResult)))
            while parts > 0 and result._job in self._results:
                result._set(0, (False, error))
                parts -= 1

    def old_functions(self) -> Iterator[Function]:
        """The largest and the oldest functions: while nothing is to be done, nobody needs them."""
        old = list(self._functions.values())[:-FUNCTIONS]
        large = [one for one in self._functions.values() if one.parcel.size > LARGE]
        for function in {*old, *large}:
            del self._functions[function.digest]
            for value in function.values:
                del self._by_id[id(value)]
            yield function

    def unshared(self) -> Iterator[Blob]:
        """The blobs that the tasks of a job had in common, once nobody waits for them."""
        for job in [job for job in self._sharers if job not in self._results]:
            yield from self._sharers.pop(job).blobs.values()
        for job in [job for job in self._calls.jobs() if job not in self._results]:
            yield from self._calls.done(job)
