"""The processes of the demo: none is left, however early somebody gives up."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from kvnode.cli import demo_parts
from kvnode.cli.demo_parts import Child, DemoError, DemoNode, running, start_bus

pytestmark = pytest.mark.anyio

SILENT = [sys.executable, "-c", "import time; time.sleep(1000)"]
NEVER_READY = "import sys, time; print('something else', flush=True); time.sleep(1000)"


class Started:
    """Notes the number of each process that is started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, command: list[str] | None = None) -> None:
        self.pids: list[int] = []
        self.event = anyio.Event()
        before = anyio.open_process

        async def open_process(asked: list[str], **options: object) -> object:
            process = await before(command or asked, **options)  # type: ignore[arg-type]
            self.pids.append(process.pid)
            self.event.set()
            return process

        monkeypatch.setattr(demo_parts.anyio, "open_process", open_process)

    def none_is_left(self) -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in self.pids)


async def test_cancelled_while_the_ready_line_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch, command=SILENT)
    async with anyio.create_task_group() as tasks:

        async def start() -> None:
            async with AsyncExitStack() as stack:
                await DemoNode("a", tmp_path).start(stack)

        tasks.start_soon(start)
        await started.event.wait()
        tasks.cancel_scope.cancel()
    assert len(started.pids) == 1
    assert started.none_is_left()


async def test_cancelled_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch, command=SILENT)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with running(Child("a", SILENT, tmp_path)) as child:
            await child.start(first_line=True)
    assert started.none_is_left()


async def test_a_node_that_says_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch, command=[sys.executable, "-c", NEVER_READY])
    with pytest.raises(DemoError, match="something else"):
        async with AsyncExitStack() as stack:
            await DemoNode("a", tmp_path).start(stack)
    assert len(started.pids) == 1
    assert started.none_is_left()


@pytest.mark.parametrize("simulated", [True, False])
async def test_a_bus_that_does_not_get_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: bool) -> None:
    started = Started(monkeypatch, command=SILENT)
    monkeypatch.setattr(demo_parts.shutil, "which", lambda name: os.devnull)
    async with anyio.create_task_group() as tasks:

        async def start() -> None:
            async with AsyncExitStack() as stack:
                await start_bus(tmp_path, stack, simulated=simulated)

        tasks.start_soon(start)
        await started.event.wait()
        tasks.cancel_scope.cancel()
    assert len(started.pids) == 1
    assert started.none_is_left()
