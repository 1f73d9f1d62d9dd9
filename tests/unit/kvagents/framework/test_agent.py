"""The life of an agent against a tree in memory, in virtual time: minutes of outages take no time here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from kvagents.framework.errors import Failed
from kvnode.client import ABSENT
from kvnode.core.path import Path
from tests.unit.kvagents.fake_kv import T0, FakeKv
from tests.unit.kvagents.toy import Toy, running

pytestmark = pytest.mark.anyio

ROOT = Path.parse("agent.toy.t")
ERRORS = "@.errors.toy.t"
STATUS = "@.status.agent.toy.t"


@pytest.fixture
def anyio_backend() -> Any:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def toy() -> Toy:
    return Toy()


async def test_bindings_run_and_end_with_the_agent(toy: Toy):
    kv = FakeKv({"agent.toy.t": {"says": "hi"}, "agent.toy.t.a": {}, "agent.toy.t.b": {"says": "ho"}})
    async with running(kv, toy):
        await anyio.sleep(1)
        assert (kv.at("out.a"), kv.at("out.b")) == ("hi", "ho")
        assert kv.at(STATUS)["state"] == "running"
        assert kv.at(STATUS)["bindings"] == 2
    assert sorted(e[1:] for e in toy.log) == [("start", "a"), ("start", "b"), ("stop", "a"), ("stop", "b")]
    assert kv.at(STATUS)["state"] == "stopped"
    assert kv.at(ERRORS) is None


async def test_only_what_changed_is_restarted(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {"says": "1"}, "agent.toy.t.b": {"says": "1"}})
    async with running(kv, toy):
        await anyio.sleep(1)
        kv.put("agent.toy.t.a", {"says": "2"})
        kv.put("agent.toy.t.c", {"says": "3"})
        await anyio.sleep(1)
        kv.put("agent.toy.t.b", ABSENT)
        await anyio.sleep(1)
        assert [e[1:] for e in toy.log if e[2] == "a"] == [("start", "a"), ("stop", "a"), ("start", "a")]
        assert [e[1:] for e in toy.log if e[2] == "b"] == [("start", "b"), ("stop", "b")]
        assert (kv.at("out.a"), kv.at("out.c")) == ("2", "3")


async def test_an_inherited_attribute_reaches_all(toy: Toy):
    kv = FakeKv({"agent.toy.t": {"says": "1"}, "agent.toy.t.a": {}, "agent.toy.t.x.y": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        kv.put("agent.toy.t", {"says": "2"})
        await anyio.sleep(1)
        assert (kv.at("out.a"), kv.at("out.y")) == ("2", "2")


async def test_a_burst_of_changes_is_applied_once(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {"says": "0"}})
    async with running(kv, toy):
        await anyio.sleep(1)
        for n in range(20):
            kv.put("agent.toy.t.a", {"says": str(n)})
            await anyio.sleep(0.001)
        await anyio.sleep(1)
        assert kv.at("out.a") == "19"
        assert len(toy.starts("a")) == 2


async def test_a_failing_binding_is_retried_with_growing_delays_and_leaves_the_others_alone(toy: Toy):
    toy.broken["a"] = Failed("gone", "the bus is gone")
    kv = FakeKv({"agent.toy.t.a": {}, "agent.toy.t.b": {}})
    async with running(kv, toy):
        await anyio.sleep(4)
        starts = toy.starts("a")
        gaps = [round(b - a, 2) for a, b in zip(starts, starts[1:], strict=False)]
        assert gaps == pytest.approx([0.5, 0.7, 0.98, 1.37], abs=0.02)
        assert len(toy.starts("b")) == 1
        record = kv.at(f"{ERRORS}.a")
        assert (record["code"], record["message"], record["count"]) == ("gone", "the bus is gone", 5)
        assert record["path"] == ROOT / "a"
        assert record["resolved"] is None
        assert record["first"] < record["last"]
        assert kv.at(STATUS)["errors"] == 1


async def test_the_longest_delay_is_five_minutes(toy: Toy):
    toy.broken["a"] = Failed("gone", "the bus is gone")
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(3600 * 6)
        starts = toy.starts("a")
        assert starts[-1] - starts[-2] == pytest.approx(300)
        assert kv.at(f"{ERRORS}.a")["count"] == len(starts)


async def test_an_error_is_resolved_after_five_seconds_up(toy: Toy):
    toy.broken["a"] = Failed("gone", "the bus is gone")
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        del toy.broken["a"]
        await anyio.sleep(1)
        restarted = toy.starts("a")[-1]
        await anyio.sleep(restarted + 4.9 - 2)
        assert kv.at(f"{ERRORS}.a")["resolved"] is None
        await anyio.sleep(0.2)
        assert kv.at(f"{ERRORS}.a")["resolved"] is not None
        assert kv.at(STATUS)["errors"] == 0


async def test_what_dies_soon_after_each_start_does_not_count_as_working(toy: Toy):
    toy.broken["a"] = Failed("gone", "the bus is gone")
    toy.lives["a"] = 4.0
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(120)
        starts = toy.starts("a")
        gaps = [b - a - 4.0 for a, b in zip(starts, starts[1:], strict=False)]
        assert gaps == sorted(gaps)
        assert gaps[-1] > 5
        assert kv.at(f"{ERRORS}.a")["resolved"] is None


async def test_what_worked_for_a_while_starts_over_with_short_delays(toy: Toy):
    toy.broken["a"] = Failed("gone", "the bus is gone")
    toy.lives["a"] = 10.0
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(60)
        starts = toy.starts("a")
        assert [b - a for a, b in zip(starts, starts[1:], strict=False)] == pytest.approx([10.5] * 5, abs=0.02)


async def test_a_bug_in_one_binding_is_an_error_of_that_binding(toy: Toy, caplog: pytest.LogCaptureFixture):
    toy.broken["a"] = ExceptionGroup("tasks", [ZeroDivisionError("division by zero")])
    kv = FakeKv({"agent.toy.t.a": {}, "agent.toy.t.b": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        record = kv.at(f"{ERRORS}.a")
        assert (record["code"], record["message"]) == ("internal", "ZeroDivisionError: division by zero")
        assert kv.at("out.b") == ""


async def test_a_binding_that_just_ends_is_an_error(toy: Toy):
    toy.lives["a"] = 0.0
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        assert kv.at(f"{ERRORS}.a")["code"] == "ended"


# -- configuration -------------------------------------------------------------------------------------------


async def test_bad_then_good_configuration_needs_no_restart(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {"says": 7}, "agent.toy.t.b": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        assert kv.at("out.b") == ""
        assert kv.at("out.a") is None
        record = kv.at(f"{ERRORS}.a")
        assert record["message"] == "agent.toy.t.a: says: expected text, not 7"
        assert (record["code"], record["count"]) == ("config", 1)
        kv.put("agent.toy.t.a", {"says": "good"})
        await anyio.sleep(1)
        assert kv.at("out.a") == "good"
        assert kv.at(f"{ERRORS}.a")["resolved"] is not None


async def test_good_then_bad_configuration_stops_the_binding(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {"says": "good"}})
    async with running(kv, toy):
        await anyio.sleep(1)
        kv.put("agent.toy.t.a", {"says": 7})
        await anyio.sleep(1)
        assert toy.log[-1][1:] == ("stop", "a")
        assert kv.at(f"{ERRORS}.a")["code"] == "config"
        kv.put("agent.toy.t.a", ABSENT)
        await anyio.sleep(1)
        assert kv.at(f"{ERRORS}.a") is None


async def test_a_plan_that_crashes_can_be_mended(toy: Toy):
    kv = FakeKv({"agent.toy.t": {"crash": True}, "agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        assert kv.at(ERRORS)["message"] == "agent.toy.t: ZeroDivisionError: in plan"
        kv.put("agent.toy.t", {})
        await anyio.sleep(1)
        assert kv.at("out.a") == ""
        assert kv.at(ERRORS)["resolved"] is not None


async def test_overrides_are_written_first_and_kept_beside_what_was_there(toy: Toy):
    kv = FakeKv({"agent.toy.t": {"says": "old", "other": 1}, "agent.toy.t.a": {}})
    async with running(kv, toy, overrides={"says": "new"}):
        await anyio.sleep(1)
        assert kv.at("agent.toy.t") == {"says": "new", "other": 1}
        assert kv.at("out.a") == "new"
        assert len(toy.starts("a")) == 1


async def test_overrides_that_change_nothing_write_nothing(toy: Toy):
    kv = FakeKv({"agent.toy.t": {"says": "same"}})
    async with running(kv, toy, overrides={"says": "same"}):
        await anyio.sleep(1)
    assert ROOT not in [path for path, _ in kv.writes]


async def test_overrides_without_any_configuration(toy: Toy):
    kv = FakeKv()
    async with running(kv, toy, overrides={"says": "x"}):
        await anyio.sleep(1)
        assert kv.at("agent.toy.t") == {"says": "x"}


# -- records -------------------------------------------------------------------------------------------------


async def test_records_of_an_earlier_run_are_resolved_or_removed(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {}})
    toy.broken["a"] = Failed("gone", "the bus is gone")
    async with running(kv, toy) as agent:
        await anyio.sleep(1)
        agent._reporter.failed(ROOT / ("a", "part"), "c", "kept")
        agent._reporter.failed(ROOT / ("a", "old"), "c", "of a part that is no more")
        agent._reporter.failed(ROOT / "b", "c", "of a binding that is no more")
        await anyio.sleep(1)
        assert kv.at(f"{ERRORS}.b") is not None
    del toy.broken["a"]
    async with running(kv, toy):
        await anyio.sleep(1)
        assert kv.at(f"{ERRORS}.b") is None
        assert kv.at(f"{ERRORS}.a.old") is None
        assert kv.at(f"{ERRORS}.a.part")["message"] == "kept"
        assert kv.at(f"{ERRORS}.a")["resolved"] is None
        await anyio.sleep(6)
        assert kv.at(f"{ERRORS}.a")["resolved"] is not None


async def test_a_removed_binding_takes_its_record_along(toy: Toy):
    toy.broken["a"] = Failed("gone", "the bus is gone")
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(1)
        kv.put("agent.toy.t.a", ABSENT)
        await anyio.sleep(1)
        assert kv.at(f"{ERRORS}.a") is None


async def test_the_status_shows_signs_of_life(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy):
        await anyio.sleep(1000)
        seen = kv.at(STATUS)["seen"]
        assert seen >= T0 + timedelta(seconds=1000 - kv.at(STATUS)["every"])
        assert kv.at(STATUS)["since"] == T0


# -- the node goes away --------------------------------------------------------------------------------------


async def test_an_agent_may_start_before_its_node(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {"says": "hi"}})
    kv.away = True
    async with running(kv, toy, overrides={"other": 1}):
        await anyio.sleep(30)
        assert toy.log == []
        kv.away = False
        await anyio.sleep(60)
        assert kv.at("out.a") == "hi"
        assert kv.at("agent.toy.t") == {"other": 1}


async def test_bindings_go_on_while_the_node_is_away_and_errors_are_told_afterwards(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {}, "agent.toy.t.b": {}})
    toy.lives["a"] = 20.0
    async with running(kv, toy):
        await anyio.sleep(1)
        kv.away = True
        toy.broken["a"] = Failed("gone", "the bus is gone")
        await anyio.sleep(30)
        assert len(toy.starts("a")) == 2
        assert len(toy.starts("b")) == 1
        kv.entries[ROOT / "b"] = {"says": "changed meanwhile"}
        kv.away = False
        await anyio.sleep(60)
        assert kv.at("out.b") == "changed meanwhile"
        assert kv.at(f"{ERRORS}.a")["code"] == "gone"
        assert kv.watches >= 2


async def test_what_the_node_refuses_is_an_error_of_the_binding(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {}})
    kv.refuses.add(Path.parse("out.a"))
    async with running(kv, toy):
        await anyio.sleep(1)
        record = kv.at(f"{ERRORS}.a")
        assert record["code"] == "reserved"
        assert "out.a" in record["message"]


async def test_sources_follow_what_is_fed(toy: Toy):
    kv = FakeKv({"agent.toy.t.a": {}})
    async with running(kv, toy) as agent:
        await anyio.sleep(1)
        agent._reporter.feeds(Path.parse("here"), ROOT / "a", 60)
        agent._reporter.feeds(Path.parse("there"), ROOT / ("a", "part"), None)
        await anyio.sleep(1)
        assert kv.at("@.sources.here")["stale_after"] == 60
        assert kv.at("@.sources.there")["agent"] == "toy/t"
    async with running(kv, toy) as agent:
        await anyio.sleep(1)
        agent._reporter.feeds(Path.parse("here"), ROOT / "a", 60)
        await anyio.sleep(3)
        assert kv.at("@.sources.there") is not None, "the binding may not have come to it yet"
        await anyio.sleep(3)
        assert kv.at("@.sources.there") is None
        assert kv.at("@.sources.here") is not None
        kv.put("agent.toy.t.a", ABSENT)
        await anyio.sleep(1)
        assert kv.at("@.sources.here") is None
