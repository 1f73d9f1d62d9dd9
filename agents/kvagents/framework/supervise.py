"""Running bindings: each on its own, tried again when it fails, stopped and started as the configuration changes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from kvagents.framework.config import difference
from kvagents.framework.errors import Failed
from kvagents.framework.retry import DEFAULT_POLICY, UNTRIED, RetryPolicy
from kvnode.client import KvError
from kvnode.core.path import Path
from kvnode.data.errors import Severity

log = logging.getLogger(__name__)

Spec = TypeVar("Spec")

ENDED: Final = Failed("ended", "the binding ended by itself")


class Watcher:
    """Is told how bindings fare; see :class:`kvagents.framework.reporter.Reporter`."""

    def failed(self, path: Path, code: str, message: str, severity: Severity = Severity.ERROR) -> None:
        """The binding at `path`, or a part of it, failed."""

    def works(self, path: Path) -> None:
        """It works."""


class Run:
    """One attempt at running a binding: what the binding tells the supervisor. `first` since its start or change.

    `is_wanted` tells whether the configuration still has the binding as it is.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        works: Callable[[], Coroutine[Any, Any, None]],
        first: bool,
        is_wanted: Callable[[], bool],
    ) -> None:
        self.first = first
        self.is_wanted = is_wanted
        self._tasks = tasks
        self._works = works
        self.is_up = False

    def up(self) -> None:
        """The binding is up. If it stays so for a while it counts as working."""
        if not self.is_up:
            self.is_up = True
            self._tasks.start_soon(self._works)


@dataclass
class _Running(Generic[Spec]):
    spec: Spec
    scope: anyio.CancelScope
    ended: anyio.Event
    is_wanted: bool = True


class Supervisor(Generic[Spec]):
    """Keeps one task per binding in `tasks`. `run` runs a binding until it is cancelled or fails.

    Time comes from the event loop (:func:`anyio.current_time`), so that tests can make it virtual.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        run: Callable[[Path, Spec, Run], Awaitable[None]],
        watcher: Watcher,
        *,
        random: Callable[[], float],
        policy: RetryPolicy = DEFAULT_POLICY,
    ) -> None:
        self._tasks = tasks
        self._run = run
        self._watcher = watcher
        self._random = random
        self._policy = policy
        self._running: dict[Path, _Running[Spec]] = {}

    @property
    def bindings(self) -> int:
        """How many there are."""
        return len(self._running)

    async def apply(self, wanted: Mapping[Path, Spec]) -> None:
        """Stop what is not wanted, start what is new. Whatever is stopped has ended when its successor starts."""
        diff = difference({path: running.spec for path, running in self._running.items()}, wanted)
        ending = [self._running.pop(path) for path in diff.stop]
        for old in ending:
            old.is_wanted = False
            old.scope.cancel()
        for old in ending:
            await old.ended.wait()
        for path in diff.start:
            self._running[path] = new = _Running(wanted[path], anyio.CancelScope(), anyio.Event())
            self._tasks.start_soon(self._keep, path, new)

    async def _keep(self, path: Path, running: _Running[Spec]) -> None:
        try:
            with running.scope:
                await self._try_for_ever(path, running)
        finally:
            running.ended.set()

    async def _try_for_ever(self, path: Path, running: _Running[Spec]) -> None:
        health = UNTRIED
        first = True
        while True:
            worked, error = await self._try(path, running, first)
            first = False
            health = (UNTRIED if worked else health).failed()
            self._watcher.failed(path, *describe(error))
            await anyio.sleep(self._policy.delay_s(health.failures, self._random))

    async def _try(self, path: Path, running: _Running[Spec], first: bool) -> tuple[bool, Exception]:
        """Run once; how it ended, and whether it had counted as working before."""
        worked = False

        async def count_as_working() -> None:
            nonlocal worked
            await anyio.sleep(self._policy.working_after_s)
            worked = True
            self._watcher.works(path)

        try:
            async with anyio.create_task_group() as tasks:
                run = Run(tasks, count_as_working, first, lambda: running.is_wanted)
                await self._run(path, running.spec, run)
                tasks.cancel_scope.cancel()
        except Exception as error:
            return worked, first_error(error)
        return worked, ENDED


def first_error(error: Exception) -> Exception:
    """The error itself; of a group the first, which is the one that ended the others."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def describe(error: Exception) -> tuple[str, str, Severity]:
    """Code, message and severity of an error. What is no :class:`Failed` is a bug, logged with its traceback."""
    if isinstance(error, Failed):
        return error.code, error.message, error.severity
    if isinstance(error, KvError):
        return error.code, str(error), Severity.ERROR
    log.error("unexpected error", exc_info=error)
    text = str(error).partition("\n")[0]
    return "internal", f"{type(error).__name__}: {text}" if text else type(error).__name__, Severity.ERROR
