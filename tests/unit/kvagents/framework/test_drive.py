"""Between device and tree: what is fed, what is driven, and what happens when either is away. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

import anyio
import pytest
import trio.testing

from kvagents.framework.agent import Agent, AgentKind
from kvagents.framework.binding import Input, Output, read_input, read_output
from kvagents.framework.config import Config, Plan
from kvagents.framework.drive import Feed, drive
from kvagents.framework.errors import Failed
from kvagents.framework.link import Link
from kvnode.client import ABSENT
from kvnode.core.entry import Lease
from kvnode.core.path import Path
from tests.unit.kvagents.fake_kv import T0, FakeKv

pytestmark = pytest.mark.anyio

ERROR = "@.errors.pump.t"
PUMP = {"src": "set", "state": "is", "fail_safe": "off", "table": {"0": "off", "1": "on"}}


@pytest.fixture
def anyio_backend() -> Any:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@dataclass
class Pump(AgentKind[tuple[Input | None, Output | None]]):
    """One device: readings come from `readings`, what it is set to goes to `done`, as raw values."""

    kind: ClassVar[str] = "pump"
    done: list[Any] = field(default_factory=list)
    broken: bool = False
    sticks: bool = False
    raw: Any = 0
    feed: Feed | None = None

    def plan(self, config: Config) -> Plan[tuple[Input | None, Output | None]]:
        return Plan({config.root: (read_input(config, config.root), read_output(config, config.root))})

    async def run(self, path: Path, spec: tuple[Input | None, Output | None], link: Link) -> None:
        link.up()
        input, output = spec
        if input is not None:
            self.feed = Feed(link, input)
        if output is not None:
            await drive(link, output, self.set)
        await anyio.sleep_forever()

    async def set(self, raw: Any) -> Any:
        if self.broken:
            raise Failed("stuck", "the pump does not answer")
        self.done.append(raw)
        if not self.sticks:
            self.raw = raw
        return self.raw


def wall() -> datetime:
    return T0 + timedelta(seconds=anyio.current_time())


def tree(entries: dict[str, Any]) -> FakeKv:
    return FakeKv(entries, wall=wall)


@asynccontextmanager
async def running(kv: FakeKv, pump: Pump) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        agent = Agent(pump, "t", kv, wall=wall, random=lambda: 0.0)
        tasks.start_soon(agent.run)
        await anyio.sleep(0.5)
        yield
        tasks.cancel_scope.cancel()
    await agent.farewell(kv)


async def test_a_command_is_carried_out_and_read_back():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump()
    async with running(kv, pump):
        kv.put("set", "on")
        await anyio.sleep(0.1)
        assert (pump.done, kv.at("is"), kv.at(ERROR)) == ([1], "on", None)
        kv.put("set", "off")
        await anyio.sleep(0.1)
        assert (pump.done, kv.at("is")) == ([1, 0], "off")
        kv.put("set", ABSENT)
        await anyio.sleep(2)
        assert pump.done == [1, 0]


@pytest.mark.parametrize("state", [True, False])
async def test_a_stale_command_is_reported_and_not_carried_out_until_it_is_given_again(state: bool):
    kv, pump = tree({}), Pump()
    kv.put("agent.pump.t", {k: v for k, v in PUMP.items() if state or k != "state"})
    kv.put("set", "on")
    await anyio.sleep(100)
    async with running(kv, pump):
        record = kv.at(ERROR)
        assert (record["code"], record["severity"]) == ("stale_command", "warning")
        assert "set: a command 100 s old is not carried out" in record["message"]
        assert pump.done == []
        kv.put("set", "on")
        await anyio.sleep(0.1)
        assert pump.done == [1]
        await anyio.sleep(0.1)
        assert kv.at(ERROR)["resolved"] is not None


@pytest.mark.parametrize("restore", [False, True])
async def test_a_command_whose_lease_had_ended_is_not_carried_out(restore: bool):
    kv, pump = tree({"agent.pump.t": {**PUMP, "restore": restore}}), Pump()
    kv.put("set", "on", Lease("n", 5000))
    kv.expire("set")
    async with running(kv, pump):
        assert pump.done == []
        assert kv.at(ERROR)["message"] == "set: a command whose lease has ended is not carried out"
        kv.put("set", "on", Lease("n", 5000))
        await anyio.sleep(0.1)
        assert pump.done == [1]


@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_when_the_lease_of_a_command_ends_the_output_is_made_safe(how: str):
    kv, pump = tree({"agent.pump.t": PUMP}), Pump()
    async with running(kv, pump):
        kv.put("set", "on", Lease("n", 5000))
        await anyio.sleep(0.1)
        kv.put("set", "on", Lease("n", 5000))
        await anyio.sleep(4)
        assert pump.done[-1] == 1
        if how == "expired":
            kv.expire("set")
            await anyio.sleep(0.1)
        kv.put("set", ABSENT)
        await anyio.sleep(0.1)
        assert (pump.done[-1], pump.done.count(0), kv.at("is"), kv.at(ERROR)) == (0, 1, "off", None)


async def test_a_command_that_was_carried_out_before_is_not_repeated():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump()
    kv.put("set", "on")
    await anyio.sleep(10)
    kv.put("is", "on")
    async with running(kv, pump):
        await anyio.sleep(5)
        assert pump.done == []
        assert kv.at(ERROR) is None


async def test_a_command_given_while_the_node_was_away_for_long_is_refused():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump()
    async with running(kv, pump):
        kv.put("set", "on")
        await anyio.sleep(1)
        kv.away = True
        await anyio.sleep(29)
        assert pump.done == [1]
        await anyio.sleep(3)
        assert pump.done == [1, 0], "made safe"
        kv.put("set", "on")
        await anyio.sleep(100)
        kv.away = False
        await anyio.sleep(5)
        assert pump.done == [1, 0]
        assert kv.at(ERROR)["code"] == "stale_command"


async def test_only_the_latest_of_commands_that_overtake_one_another():
    kv, pump = tree({"agent.pump.t": {"src": "set"}}), Pump()
    async with running(kv, pump):
        for n in range(5):
            kv.put("set", n)
        await anyio.sleep(1)
        assert pump.done == [4]


async def test_what_the_device_says_otherwise_is_an_error():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump(sticks=True)
    async with running(kv, pump):
        kv.put("set", "on")
        await anyio.sleep(0.1)
        assert kv.at("is") == "off"
        assert kv.at(ERROR)["message"] == "set: was set to 'on' and says 'off'"
        pump.sticks = False
        kv.put("set", "on")
        await anyio.sleep(0.1)
        assert kv.at(ERROR)["resolved"] is not None


async def test_a_read_back_differs_not_by_rounding():
    kv, pump = tree({"agent.pump.t": {"src": "set", "state": "is", "scale": 0.01}}), Pump()
    async with running(kv, pump):
        for level in (0.07, 0.14, 0.7):
            kv.put("set", level)
            await anyio.sleep(0.1)
            assert (kv.at("is"), kv.at(ERROR)) == (level, None)


async def test_a_device_that_fails_or_a_value_that_it_does_not_know_is_an_error_and_the_next_one_is_tried():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump(broken=True)
    async with running(kv, pump):
        kv.put("set", "on")
        await anyio.sleep(0.1)
        assert kv.at(ERROR)["code"] == "stuck"
        pump.broken = False
        kv.put("set", "half")
        await anyio.sleep(0.1)
        assert "no entry for half" in kv.at(ERROR)["message"]
        kv.put("set", "on")
        await anyio.sleep(0.1)
        assert pump.done == [1]
        assert kv.at(ERROR)["resolved"] is not None


async def test_the_end_of_the_agent_makes_safe_and_a_new_configuration_does_not():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump()
    async with running(kv, pump):
        kv.put("set", "on")
        await anyio.sleep(0.1)
        kv.put("agent.pump.t", {**PUMP, "fail_safe_after": 5})
        await anyio.sleep(1)
        assert 0 not in pump.done
        assert kv.at("is") == "on"
    assert pump.done[-1] == 0
    assert kv.at("is") == "off", "what the tree says agrees with the device"
    await anyio.sleep(5)
    async with running(kv, pump):
        await anyio.sleep(5)
        assert pump.done[-1] == 0, "the command from before was carried out once"
        assert kv.at(ERROR) is None


async def test_an_instance_that_loses_its_claim_leaves_the_device_to_the_other():
    kv, pump = tree({"agent.pump.t": PUMP}), Pump()
    async with running(kv, pump):
        kv.put("set", "on")
        await anyio.sleep(0.1)
        kv.put("@.claims.pump.t", {**kv.at("@.claims.pump.t"), "session": "other", "host": "other", "token": 9})
        await anyio.sleep(0.5)
    assert pump.done == [1]


async def test_readings_are_converted_filtered_and_have_a_source():
    kv, pump = tree({"agent.pump.t": {"dest": "level", "scale": 0.5, "delta": 1, "heartbeat": 60}}), Pump()
    async with running(kv, pump):
        assert pump.feed is not None
        for raw in (10, 11, 12, 13):
            await pump.feed.take(raw)
        assert [value for path, value in kv.writes if str(path) == "level"] == [5.0, 6.5]
        await anyio.sleep(0.1)
        source = kv.at("@.sources.level")
        assert (source["agent"], str(source["config"]), source["stale_after"]) == ("pump/t", "agent.pump.t", 132)
        await pump.feed.take("wet")
        await anyio.sleep(0.1)
        assert kv.at(ERROR)["code"] == "conversion"
        await pump.feed.take(13)
        await anyio.sleep(0.1)
        assert kv.at(ERROR)["resolved"] is not None
        kv.away = True
        await pump.feed.take(20)
        kv.away = False
        await pump.feed.take(20)
        assert kv.at("level") == 10.0
        kv.put("agent.pump.t", {})
        await anyio.sleep(0.5)
        kv.put("agent.pump.t", ABSENT)
    assert kv.at("level") == 10.0
