"""Work that a signal asks to end: whenever that comes, it puts away its own first."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import anyio
import asyncclick as click
import pytest

from kvnode.cli.ending import in_order, until_signal
from kvnode.testing.processes import environment

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.mark.anyio
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_cancels_and_is_given(number: signal.Signals) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(number)
            await anyio.sleep_forever()
        finally:
            steps.append("put away")

    assert await until_signal(work) is number
    assert steps == ["put away"]


@pytest.mark.anyio
async def test_signals_while_it_puts_away_change_nothing() -> None:
    steps: list[int] = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for step in range(3):
                    for number in SIGNALS:
                        signal.raise_signal(number)
                    await anyio.wait_all_tasks_blocked()
                    steps.append(step)

    assert await until_signal(work) is signal.SIGTERM
    assert steps == [0, 1, 2]


@pytest.mark.anyio
async def test_a_signal_at_the_time_limit_changes_nothing() -> None:
    steps: list[str] = []

    async def work() -> None:
        with anyio.move_on_after(0):
            try:
                await anyio.sleep_forever()
            finally:
                signal.raise_signal(signal.SIGTERM)
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                    steps.append("put away")

    await until_signal(work)
    assert steps == ["put away"]


@pytest.mark.anyio
async def test_without_a_signal_it_ends_as_it_does() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    async def work() -> None:
        pass

    async def fails() -> None:
        raise KeyError("x")

    assert await until_signal(work) is None
    with pytest.raises(KeyError):
        await until_signal(fails)
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.anyio
async def test_ctrl_c_is_an_abort() -> None:
    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    with pytest.raises(click.Abort):
        await in_order(work)


@pytest.mark.anyio
async def test_a_signal_that_is_ignored_stays_so() -> None:
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        async def work() -> None:
            signal.raise_signal(signal.SIGHUP)
            await anyio.wait_all_tasks_blocked()

        assert await until_signal(work) is None
    finally:
        signal.signal(signal.SIGHUP, ignored)


_PROGRAM = """
import signal, sys, anyio
from kvnode.cli.ending import in_order

async def work():
    try:
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    finally:
        print("put away", flush=True)

anyio.run(in_order, work, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_process_ends_by_the_signal(backend: str) -> None:
    done: Any = subprocess.run([sys.executable, "-c", _PROGRAM, backend], env=environment(), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, b"put away\n", b"")
