"""What every agent must do, as a list of checks: run each with a fresh :class:`Bench`, on any backend of anyio.

A test module parametrizes over :data:`CONTRACT` and awaits ``check(bench)``; the checks raise AssertionError or
TimeoutError. They need no particular test framework.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import anyio

from kvagents.framework.agent import ROOT, Agent, AgentKind
from kvagents.framework.claim import CLAIMS, Claim
from kvagents.framework.keeper import Process
from kvagents.framework.retry import RetryPolicy
from kvnode.client import Change, Client, NotFound, connect
from kvnode.core.path import Path
from kvnode.data.errors import ERRORS
from kvnode.data.sources import STATUS, source_of

QUICK: Final = RetryPolicy(first_s=0.05, factor=1.2, longest_s=0.3, working_after_s=0.3)
"""The shape of the real delays, without their length."""
PATIENCE_S: Final = 30.0


class Bench(Protocol):
    """One agent, with the device or service that it connects to, and a node. The device is there at first.

    Checks may share a node, but each needs a `name` of its own for the agent, and a `reading` of its own.
    """

    kind: AgentKind[Any]
    name: str
    good: Mapping[str, Any]
    """Attributes of the agent's own entry with which it writes the device's value to `reading`, several times a
    second if need be."""
    bad: Mapping[str, Any]
    """Attributes with a mistake, in the key `bad_key`."""
    bad_key: str
    reading: Path
    address: str
    """Of the node."""
    environ: Mapping[str, str]
    """What ``python -m kvnode agent run`` needs in its environment to find the agent."""

    def start_node(self) -> object:
        """Start the node if it does not run, the first time or again with what it held."""

    def kill_node(self) -> object:
        """End the node without notice, if it runs."""

    def change(self) -> Any:
        """Make the device say something new; returns the value that the tree should get."""

    def lose_bus(self) -> object:
        """Take the device or service away, so that the agent cannot reach it."""

    def restore_bus(self) -> object:
        """Bring it back."""


Check = Callable[[Bench], Awaitable[None]]


async def until(kv: Client, path: Path, fits: Callable[[Any], bool]) -> Any:
    """Wait until the value at a path, None if there is none, is as wanted."""
    try:
        value = (await kv.get(path)).value
    except NotFound:
        value = None
    if fits(value):
        return value
    with anyio.fail_after(PATIENCE_S):
        async with kv.watch(path) as items:
            async for item in items:
                if isinstance(item, Change) and item.path == path:
                    value = None if item.deleted else item.value
                    if fits(value):
                        return value
    raise AssertionError(f"the watch of {path} ended")


@asynccontextmanager
async def _client(bench: Bench) -> AsyncIterator[Client]:
    async with connect(bench.address, author="test", patient=True) as kv:
        yield kv


@asynccontextmanager
async def _running(bench: Bench, process: Process | None = None, **overrides: Any) -> AsyncIterator[Agent[Any]]:
    """The agent in this process, ended like one that got a signal."""
    given = {**bench.good, **overrides}
    async with connect(bench.address, author=_agent(bench), patient=True) as kv:
        agent = Agent(bench.kind, bench.name, kv, overrides=given, policy=QUICK, process=process)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.run)
            yield agent
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(PATIENCE_S):
            await agent.farewell(kv)


async def _follows(bench: Bench, kv: Client) -> None:
    """What the device says now arrives."""
    wanted = bench.change()
    await until(kv, bench.reading, lambda value: value == wanted)


def _below(top: Path, bench: Bench) -> Path:
    return top / (bench.kind.kind, bench.name)


def _agent(bench: Bench) -> str:
    return f"{bench.kind.kind}/{bench.name}"


def _is_open(record: Any) -> bool:
    return bool(record) and record["resolved"] is None


async def starts_before_the_node(bench: Bench) -> None:
    """An agent waits for its node, and then does its work."""
    bench.kill_node()
    async with _running(bench):
        with anyio.move_on_after(0.3):
            await anyio.sleep_forever()
        bench.start_node()
        async with _client(bench) as kv:
            await _follows(bench, kv)
            status = await until(kv, _below(STATUS, bench), bool)
            assert status["state"] == "running"
            source = await until(kv, source_of(bench.reading), bool)
            assert source["agent"] == _agent(bench)


async def survives_a_restart_of_its_node(bench: Bench) -> None:
    """A node that was killed is waited for; what the device said last is told then."""
    bench.start_node()
    async with _running(bench), _client(bench) as kv:
        await _follows(bench, kv)
        bench.kill_node()
        wanted = bench.change()
        bench.start_node()
        await until(kv, bench.reading, lambda value: value == wanted)
        await _follows(bench, kv)


async def survives_a_loss_of_its_bus(bench: Bench) -> None:
    """A lost device is an error that says so, and resolves itself when the device is back."""
    bench.start_node()
    async with _running(bench), _client(bench) as kv:
        await _follows(bench, kv)
        bench.lose_bus()
        place = await _first_open(bench, kv)
        bench.restore_bus()
        await _follows(bench, kv)
        record = await until(kv, place, lambda value: not _is_open(value))
        assert record["count"] >= 1
        assert "\n" not in record["message"]


async def _first_open(bench: Bench, kv: Client, name: str | None = None) -> Path:
    """The place of the first error record that is open, of this agent or the one of another name."""
    with anyio.fail_after(PATIENCE_S):
        async with kv.watch(ERRORS / (bench.kind.kind, name or bench.name)) as items:
            async for item in items:
                if isinstance(item, Change) and not item.deleted and _is_open(item.value):
                    return item.path
    raise AssertionError("the watch of the errors ended")


async def is_told_of_a_bad_configuration_and_takes_a_good_one(bench: Bench) -> None:
    """A mistake is one error that names path and key; mending it needs no restart."""
    bench.start_node()
    root = _below(ROOT, bench)
    async with _running(bench, **bench.bad), _client(bench) as kv:
        record = await until(kv, _below(ERRORS, bench), _is_open)
        assert record["message"].startswith(f"{root}: {bench.bad_key}: "), record["message"]
        await kv.set(root, dict(bench.good))
        await _follows(bench, kv)
        await until(kv, _below(ERRORS, bench), lambda value: not _is_open(value))


async def ends_in_order_on_sigterm(bench: Bench) -> None:
    """A process that is told to end while it works does so soon, says goodbye, and prints no traceback."""
    bench.start_node()
    async with _client(bench) as kv:
        await kv.set(_below(ROOT, bench), dict(bench.good))
        process = _process(bench)
        try:
            await _follows(bench, kv)
            bench.change()
            process.send_signal(signal.SIGTERM)
            _, told = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=PATIENCE_S))
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, told
        assert "Traceback" not in told
        assert (await kv.get(_below(STATUS, bench))).value["state"] == "stopped"
        claim = Claim.from_value((await kv.get(_below(CLAIMS, bench))).value)
        assert claim is not None
        assert claim.released


def _process(bench: Bench) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kvnode", "agent", "run", bench.kind.kind, bench.name, "--node", bench.address]
    environ = {**os.environ, **bench.environ}
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


async def of_two_instances_one_drives(bench: Bench) -> None:
    """The second one stands by, and takes over when the first one ends."""
    bench.start_node()
    async with _client(bench) as kv:
        first_works, first_ends = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def first() -> None:
                async with _running(bench, Process("one", 1)) as agent:
                    await _follows(bench, kv)
                    assert agent.drives
                    first_works.set()
                    await first_ends.wait()

            tasks.start_soon(first)
            await first_works.wait()
            async with _running(bench, Process("two", 1)) as agent:
                await _follows(bench, kv)
                assert not agent.drives
                first_ends.set()
                claim = await until(kv, _below(CLAIMS, bench), lambda claim: claim["host"] == "two")
                assert claim["token"] == 2
                await _follows(bench, kv)
                assert agent.drives


async def of_two_agents_on_one_bus_one_drives(bench: Bench) -> None:
    """An agent of another name, configured for the same bus, stands by, says so, and takes over when it is free."""
    bench.start_node()
    second = f"{bench.name}2"
    async with _client(bench) as kv, connect(bench.address, author="second", patient=True) as own:
        agent = Agent(bench.kind, second, own, overrides=bench.good, policy=QUICK, process=Process("two", 1))
        async with anyio.create_task_group() as tasks:
            async with _running(bench, Process("one", 1)):
                await _follows(bench, kv)
                tasks.start_soon(agent.run)
                place = await _first_open(bench, kv, second)
                record = (await kv.get(place)).value
                assert record["code"] == "claimed"
                assert record["message"].endswith(f" is driven by {_agent(bench)}")
                await _follows(bench, kv)
                assert (await kv.get(bench.reading)).author == _agent(bench)
            with anyio.fail_after(PATIENCE_S):
                while (await kv.get(bench.reading)).author != "second":
                    await _follows(bench, kv)
            await until(kv, place, lambda value: not _is_open(value))
            tasks.cancel_scope.cancel()
        await agent.farewell(kv)


CONTRACT: Final[tuple[Check, ...]] = (
    starts_before_the_node,
    survives_a_restart_of_its_node,
    survives_a_loss_of_its_bus,
    is_told_of_a_bad_configuration_and_takes_a_good_one,
    ends_in_order_on_sigterm,
    of_two_instances_one_drives,
    of_two_agents_on_one_bus_one_drives,
)
"""Those of a kind whose bindings drive no bus leave out the last one."""
