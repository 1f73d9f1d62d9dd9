"""What the benchmarks' clocks count."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import anyio
import anyio.lowlevel
import pytest

from kvnode.testing.bench.timing import Stopwatch, cpu_s, in_flight

pytestmark = pytest.mark.anyio


def test_the_cpu_time_of_a_process_is_what_it_says_itself() -> None:
    before, own = cpu_s(os.getpid()), time.process_time()
    while time.process_time() < own + 0.02:
        pass
    assert cpu_s(os.getpid()) - before == pytest.approx(time.process_time() - own, abs=0.01)


def test_a_process_that_is_gone_is_an_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_s(process.pid)


async def test_a_sample_tells_the_cost_of_an_operation_by_process() -> None:
    watch = Stopwatch({"self": os.getpid()})
    with watch.span():
        began = time.process_time()
        while time.process_time() < began + 0.02:
            pass
    sample = await watch.sample(1.0, 10)
    assert watch.wall_s >= 0.02
    assert 2_000 <= sample.cpu_us["client"] <= sample.cpu_us["self"] + 1
    assert sample.cpu_total_us == pytest.approx(sum(sample.cpu_us.values()))


async def test_each_operation_is_done_once_and_no_more_than_so_many_at_a_time() -> None:

    done: list[int] = []
    active = most = 0

    async def operation(number: int) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await anyio.lowlevel.checkpoint()
        active -= 1
        done.append(number)

    took = await in_flight(operation, 20, 4)
    assert sorted(done) == list(range(20))
    assert len(took) == 20
    assert most == 4
