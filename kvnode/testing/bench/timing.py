"""Operations in flight, and what a span of time cost: wall time, CPU time of each process.

CPU time is what counts on a machine that does other work besides: waiting for a processor is not in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio

_CPU_CLOCK: Final = 2
"""The kind of clock that the kernel keeps of a process, in the lowest bits of the clock's number."""
SETTLE_S: Final = 0.2
"""What processes still do so long after the last operation was acknowledged is counted, too; and so long they are left
in peace after preparations.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: its value in the unit of its measure, and CPU microseconds per operation, by process."""

    value: float
    operations: int
    cpu_us: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_total_us(self) -> float:
        """Of all processes together."""
        return sum(self.cpu_us.values())


def cpu_s(pid: int) -> float:
    """User and system time of a process, all its threads, in seconds. Raises OSError if it is gone. Linux only.

    It is the clock of clock_getcpuclockid(3), which Python lacks: finer than the ticks in ``/proc``.
    """
    return time.clock_gettime(~pid << 3 | _CPU_CLOCK)


class Stopwatch:
    """Measures one span, see :meth:`span`. `pids` names the processes besides this one, which is called ``client``."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids: Final = dict(pids)
        self._before: dict[str, float] = {}
        self.wall_s = 0.0

    @contextmanager
    def span(self) -> Iterator[None]:
        """What is in this block is measured."""
        self._before = self._read()
        began = time.perf_counter()
        yield
        self.wall_s = time.perf_counter() - began

    async def sample(self, value: float, operations: int) -> Sample:
        """The span as a sample."""
        after = self._read()["client"]
        await anyio.sleep(SETTLE_S)
        used = self._read() | {"client": after}
        return Sample(value, operations, {k: (used[k] - self._before[k]) / operations * 1e6 for k in used})

    def _read(self) -> dict[str, float]:
        return {"client": time.process_time()} | {name: cpu_s(pid) for name, pid in self._pids.items()}


async def in_flight(operation: Callable[[int], Awaitable[object]], count: int, width: int) -> list[float]:
    """Do `operation` with 0 to `count` - 1, `width` of them at a time; gives how long each took, in seconds."""
    numbers = iter(range(count))
    took: list[float] = []

    async def work() -> None:
        for number in numbers:
            began = time.perf_counter()
            await operation(number)
            took.append(time.perf_counter() - began)

    async with anyio.create_task_group() as tasks:
        for _ in range(min(width, count)):
            tasks.start_soon(work)
    return took


def median_ms(took: list[float]) -> float:
    """The median of times in seconds, in milliseconds."""
    return statistics.median(took) * 1e3
