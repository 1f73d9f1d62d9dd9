"""Two instances of one agent, or two agents with one bus, on two nodes that are cut off from one another, and what
happens when that is healed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, ClassVar

import anyio
import pytest

from kvagents.framework.agent import Agent, AgentKind
from kvagents.framework.claim import Terms
from kvagents.framework.config import Config, Plan
from kvagents.framework.keeper import Process
from kvagents.framework.link import Link
from kvagents.framework.testing.contract import until
from kvnode.client import connect
from kvnode.core.path import Path
from kvnode.testing.processes import NodeProcess
from kvnode.testing.proxy import proxy

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CLAIM = Path.parse("@.claims.bell.b")
PATIENCE_S = 60.0


@pytest.fixture
def anyio_backend() -> Any:
    return "trio"


@dataclass
class Bell(AgentKind[int]):
    """Rings as long as it runs."""

    kind: ClassVar[str] = "bell"
    rings: bool = False
    turned: anyio.Event = field(default_factory=anyio.Event)

    def plan(self, config: Config) -> Plan[int]:
        return Plan({config.root: 1})

    def bus(self, spec: int) -> Path:
        return Path(("tower",))

    async def run(self, path: Path, spec: int, link: Link) -> None:
        link.up()
        self._turn(True)
        try:
            await anyio.sleep_forever()
        finally:
            self._turn(False)

    def _turn(self, rings: bool) -> None:
        self.rings = rings
        self.turned.set()
        self.turned = anyio.Event()

    async def until(self, rings: bool) -> None:
        with anyio.fail_after(PATIENCE_S):
            while self.rings is not rings:
                await self.turned.wait()


@pytest.mark.parametrize(("second", "claim"), [("b", "@.claims.bell.b"), ("c", "@.buses.tower")])
async def test_both_drive_while_cut_off_and_one_stops_in_time_after_healing(
    tmp_path: FilePath, second: str, claim: str
):
    place = Path.parse(claim)
    terms = Terms(lease_s=3.0)
    left, right = Bell(), Bell()
    with NodeProcess("a", tmp_path) as a:
        async with proxy(a.port) as cable:
            with NodeProcess("b", tmp_path, peers=[cable.address]) as b:
                async with (
                    connect(a.address, patient=True) as kv_a,
                    connect(b.address, patient=True) as kv_b,
                    anyio.create_task_group() as tasks,
                ):
                    await kv_a.set("agent.bell.b", {})
                    await kv_a.set(f"agent.bell.{second}", {})
                    await until(kv_b, Path.parse(f"agent.bell.{second}"), lambda value: value == {})
                    tasks.start_soon(Agent(left, "b", kv_a, terms=terms, process=Process("left", 1)).run)
                    await left.until(True)
                    await until(kv_b, place, bool)
                    tasks.start_soon(Agent(right, second, kv_b, terms=terms, process=Process("right", 1)).run)
                    beat = (await kv_b.get(CLAIM)).value["beat"]
                    await until(kv_b, CLAIM, lambda claim: claim["beat"] > beat + terms.lease_s / terms.renew_s)
                    assert (left.rings, right.rings) == (True, False)
                    cable.cut()
                    await right.until(True)
                    assert left.rings, "each side has its own"
                    cable.heal()
                    # The nodes have to find one another first; from when they have, the time is named.
                    await until(kv_a, place, lambda claim: claim["host"] == "right")
                    with anyio.fail_after(terms.stop_within_s):
                        await left.until(False)
                    assert right.rings
                    assert (await kv_a.get(place)).value["token"] == 2
                    tasks.cancel_scope.cancel()
