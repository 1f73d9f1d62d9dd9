"""Real nodes as processes, and what they use.

CPU time is that of the processes, user and system; memory is the resident set. Wall time depends on what else the
machine does, so it is given only beside the CPU time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

WAIT_S: Final = 900.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the threads of a process have used, user and system."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory_bytes(pid: int) -> int:
    """The resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def us(seconds: float, count: int) -> float:
    """Microseconds for each."""
    return round(seconds / count * 1e6, 2)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="kvnode-growth-") as name:
        yield Path(name)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `check` holds. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_S):
        while not await check():  # noqa: ASYNC110  # what other processes do, nobody tells
            await asyncio.sleep(0.05)
