"""What is told to a service manager, and that a manager that does not listen harms nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import pytest

from kvnode.node.systemd import ServiceManager
from kvnode.testing.inprocess import eventually


def test_without_a_manager_nothing_is_told() -> None:
    manager = ServiceManager({"WATCHDOG_USEC": "1000"})
    manager.tell("READY=1")
    assert manager.watchdog_s is None


@pytest.mark.parametrize("address", ["/nonexistent/notify", "@kvnode-nobody-listens", "relative"])
def test_a_manager_that_does_not_listen_harms_nothing(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address}).tell("READY=1")


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_needed(env: dict[str, str], seconds: float | None) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/x"} | env, pid=7).watchdog_s == seconds


@pytest.mark.anyio
async def test_the_watchdog_is_fed_only_after_a_turn(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.setblocking(False)
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "2000"})
        turns = 0

        async def turn() -> None:
            nonlocal turns
            turns += 1
            if turns == 3:
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.feed_watchdog, turn)
            await eventually(lambda: turns == 3)
            tasks.cancel_scope.cancel()
        assert [listener.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        with pytest.raises(BlockingIOError):
            listener.recv(100)
