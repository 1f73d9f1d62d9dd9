"""Tasks that serve a block of code and end with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


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
