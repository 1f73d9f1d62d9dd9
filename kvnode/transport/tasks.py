"""Tasks that serve a block of code and end with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """A task group whose tasks are cancelled at the end of the block.

    What the block itself raises comes out as it is; a task group alone would wrap it, although its tasks are
    nothing that the caller knows of. What a task raises comes out as a group.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as err:
            failure = err
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def run_beside(
    main: Callable[[], Coroutine[Any, Any, None]],
    ended: Callable[[], None],
    others: Iterable[Callable[[], Coroutine[Any, Any, None]]],
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run `main`, and `others` beside it; when it ends, however it does, call `ended` and cancel them. What any of them
    raises comes out in a group.
    """
    async with anyio.create_task_group() as tasks:
        for other in others:
            tasks.start_soon(other)
        task_status.started()
        try:
            await main()
        finally:
            ended()
            tasks.cancel_scope.cancel()
