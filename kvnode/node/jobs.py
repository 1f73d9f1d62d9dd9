"""Work of one connection that has to wait for something, done by a few lasting tasks.

Starting a task for each request would cost more than most requests. Whichever task is free takes the oldest job,
so jobs begin in the order in which they were added, and as many as there are tasks can wait at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

Job = Callable[[], Awaitable[None]]


class Jobs:
    """Jobs done by at most `max_workers` tasks of `tasks`; `max_waiting` more may wait before :meth:`room` holds."""

    def __init__(self, tasks: TaskGroup, *, max_workers: int, max_waiting: int) -> None:
        self._tasks: Final = tasks
        self._max_workers: Final = max_workers
        self._max_waiting: Final = max_waiting
        self._waiting: deque[Job] = deque()
        self._idle: deque[anyio.Event] = deque()
        self._workers = 0
        self._roomy: anyio.Event | None = None

    def add(self, job: Job) -> None:
        """Have a job done. It must not raise."""
        self._waiting.append(job)
        if self._idle:
            self._idle.popleft().set()
        elif self._workers < self._max_workers:
            self._workers += 1
            self._tasks.start_soon(self._work)

    @property
    def full(self) -> bool:
        """Whether more jobs wait than should."""
        return len(self._waiting) >= self._max_waiting

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            if self._roomy is None:
                self._roomy = anyio.Event()
            await self._roomy.wait()

    async def _work(self) -> None:
        while True:
            while self._waiting:
                job = self._waiting.popleft()
                if self._roomy is not None and not self.full:
                    self._roomy.set()
                    self._roomy = None
                await job()
            free = anyio.Event()
            self._idle.append(free)
            await free.wait()
