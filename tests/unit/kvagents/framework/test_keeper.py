"""Two instances of one agent: one drives, the other stands by and takes over. In virtual time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from kvagents.framework.agent import Agent
from kvagents.framework.claim import Claim, Terms
from kvagents.framework.keeper import Process
from kvnode.client import ABSENT
from tests.unit.kvagents.fake_kv import T0, FakeKv
from tests.unit.kvagents.toy import Toy, running

pytestmark = pytest.mark.anyio

CLAIM = "@.claims.toy.t"
HERE, THERE = Process("here", 1), Process("there", 1)
UNSAFE = Terms(lease_s=30, two_holders="unsafe")


@pytest.fixture
def anyio_backend() -> Any:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def tree() -> FakeKv:
    return FakeKv({"agent.toy.t.a": {"says": "hi"}})


class Instance:
    """An agent that can be started, ended in order, and killed."""

    def __init__(self, kv: FakeKv, process: Process, **options: Any) -> None:
        self.toy = Toy()
        self.agent = Agent(self.toy, "t", kv, wall=lambda: T0, random=lambda: 0.0, process=process, **options)
        self._kv = kv
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            await self.agent.run()

    def kill(self) -> None:
        self._scope.cancel()

    async def stop(self) -> None:
        self._scope.cancel()
        await anyio.lowlevel.checkpoint()
        await self.agent.farewell(self._kv)

    @property
    def drives(self) -> bool:
        """Whether its binding runs."""
        ran = [what for _, what, who in self.toy.log if who == "a"]
        return ran[-1:] == ["start"]


@asynccontextmanager
async def two(kv: FakeKv, **options: Any) -> AsyncIterator[tuple[Instance, Instance]]:
    """The first drives, the second stands by."""
    one, other = Instance(kv, HERE, **options), Instance(kv, THERE, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(1)
        tasks.start_soon(other.run)
        await anyio.sleep(1)
        assert (one.drives, other.drives) == (True, False)
        yield one, other
        tasks.cancel_scope.cancel()


async def test_the_claim_is_renewed_and_released():
    kv, toy = tree(), Toy()
    async with running(kv, toy) as agent:
        await anyio.sleep(1)
        first = Claim.from_value(kv.at(CLAIM))
        assert first is not None
        assert (first.holder, first.token, first.released) == ("toy/t", 1, False)
        assert kv.at("@.status.agent.toy.t")["session"] == first.session
        await anyio.sleep(60)
        assert kv.at(CLAIM)["renewed"] > first.renewed
        assert sum(str(path) == CLAIM for path, _ in kv.writes) == 7
        assert agent.drives
    assert kv.at(CLAIM)["released"] is True
    assert len(toy.starts("a")) == 1


async def test_the_second_takes_over_at_once_when_the_first_ends():
    kv = tree()
    async with two(kv) as (one, other):
        await anyio.sleep(200)
        assert (one.drives, other.drives) == (True, False)
        await one.stop()
        await anyio.sleep(0.5)
        assert (one.drives, other.drives) == (False, True)
        assert kv.at(CLAIM)["token"] == 2


async def test_the_second_takes_over_within_a_lease_when_the_first_is_killed():
    kv = tree()
    async with two(kv) as (one, other):
        one.kill()
        await anyio.sleep(28)
        assert not other.drives
        await anyio.sleep(3)
        assert other.drives


async def test_a_process_that_is_known_to_be_dead_is_not_waited_for():
    kv = tree()
    async with two(kv) as (one, _):
        one.kill()
        again = Instance(kv, HERE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.run)
            await anyio.sleep(0.5)
            assert again.drives
            tasks.cancel_scope.cancel()


async def test_the_loser_of_a_healed_cut_stops_at_once_and_stays_away():
    kv = tree()
    async with two(kv) as (one, other):
        kv.put(CLAIM, {**kv.at(CLAIM), "session": "other", "host": "other", "token": 9})
        await anyio.sleep(0.5)
        assert not one.drives
        assert not other.drives
        await anyio.sleep(29)
        assert not one.drives
        await anyio.sleep(3)
        assert one.drives != other.drives, "nobody renews it"
        assert kv.at(CLAIM)["token"] == 10


@pytest.mark.parametrize(("terms", "goes_on"), [(Terms(), True), (UNSAFE, False)])
async def test_without_a_node_the_holder_goes_on_only_where_two_do_no_harm(terms: Terms, goes_on: bool):
    kv = tree()
    async with two(kv, terms=terms) as (one, other):
        kv.away = True
        await anyio.sleep(18)
        assert one.drives
        await anyio.sleep(13)
        assert one.drives is goes_on
        kv.away = False
        await anyio.sleep(40)
        assert one.drives != other.drives


async def test_a_node_that_does_not_answer_does_not_keep_the_holder_driving(monkeypatch: pytest.MonkeyPatch):
    kv = tree()
    async with two(kv, terms=UNSAFE) as (one, _):

        async def hang() -> None:
            await anyio.sleep_forever()

        monkeypatch.setattr(kv, "_round_trip", hang)
        await anyio.sleep(30.5)
        assert not one.drives


async def test_a_claim_that_is_deleted_is_made_again():
    kv = tree()
    async with two(kv) as (one, other):
        kv.put(CLAIM, ABSENT)
        await anyio.sleep(1)
        assert one.drives != other.drives
        assert kv.at(CLAIM)["token"] == 2


async def test_nonsense_in_the_place_of_the_claim_is_replaced():
    kv = tree()
    kv.put(CLAIM, "mine!")
    one = Instance(kv, HERE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(1)
        assert one.drives
        tasks.cancel_scope.cancel()


def test_what_is_known_of_processes():
    own = Process.own()
    assert own.pid == os.getpid()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def claim(host: str, pid: int) -> Claim:
        return Claim("toy/t", "s", 1, T0, 30, host=host, pid=pid)

    assert own.knows_dead(claim(own.host, ended.pid))
    assert own.knows_dead(claim(own.host, own.pid)), "an earlier process that had our number"
    assert not own.knows_dead(claim(own.host, os.getppid()))
    assert not own.knows_dead(claim("elsewhere", ended.pid))
    assert not own.knows_dead(claim(own.host, 0))
