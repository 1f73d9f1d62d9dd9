"""A server on an event loop and a thread of its own, so that tests on any backend can stop and start it."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.from_thread
from anyio.abc import Listener, SocketStream

from kvnode.testing.processes import free_port


class ThreadedServer:
    """Runs `serve` on a listener at its `port`, which stays the same over restarts."""

    def __init__(self, serve: Callable[[Listener[SocketStream]], Awaitable[None]]) -> None:
        self.port = free_port()
        self._serve = serve
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=anyio.run, args=(self._run, ready))
        self._thread.start()
        assert ready.wait(10), "the server does not start"

    async def _run(self, ready: threading.Event) -> None:
        async with anyio.create_task_group() as tasks, anyio.from_thread.BlockingPortal() as portal:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
            tasks.start_soon(self._serve, listener)
            stopped = anyio.Event()
            self._stop = partial(portal.call, stopped.set)
            ready.set()
            await stopped.wait()
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None
