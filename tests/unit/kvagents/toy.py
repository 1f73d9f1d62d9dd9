"""An agent for tests of the framework, and running it on a tree in memory, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio

from kvagents.framework.agent import Agent, AgentKind
from kvagents.framework.config import Config, Plan, Problem
from kvagents.framework.link import Link
from kvnode.core.path import Path
from tests.unit.kvagents.fake_kv import T0, FakeKv


@dataclass
class Toy(AgentKind[str]):
    """Each entry below the root is a binding; its `says` decides what happens, and may change behind its back."""

    kind = "toy"
    broken: dict[str, Exception] = field(default_factory=dict)
    """What a binding fails with as long as it is here, by its last path element."""
    lives: dict[str, float] = field(default_factory=dict)
    """How long a binding stays up before it fails."""
    log: list[tuple[float, str, str]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """The fencing tokens that bindings were started with."""

    def plan(self, config: Config) -> Plan[str]:
        if config.own(config.root).get("crash"):
            raise ZeroDivisionError("in plan")
        bindings, problems = {}, []
        for path in config:
            says = config.inherited(path).get("says", "")
            if not isinstance(says, str):
                problems.append(Problem(path, f"expected text, not {says!r}", "says"))
            elif path != config.root:
                bindings[path] = says
        return Plan(bindings, tuple(problems))

    def bus(self, spec: str) -> Path | None:
        """Whoever says ``bus X`` drives that bus."""
        return Path(spec.split()) if spec.startswith("bus ") else None

    async def run(self, path: Path, spec: str, link: Link) -> None:
        self.tokens.append(link.token)
        name = str(path[-1])
        self.note("start", name)
        link.begin([path / "part"])
        try:
            if name in self.broken and name not in self.lives:
                raise self.broken[name]
            link.up()
            await link.put(Path(("out", name)), spec)
            await anyio.sleep(self.lives.get(name, float("inf")))
            if name in self.broken:
                raise self.broken[name]
        finally:
            self.note("stop", name)

    def note(self, what: str, name: str) -> None:
        self.log.append((round(anyio.current_time() - self.zero, 2), what, name))

    def starts(self, name: str) -> list[float]:
        return [at for at, what, who in self.log if (what, who) == ("start", name)]

    zero: float = 0.0


@asynccontextmanager
async def running(kv: FakeKv, toy: Toy, name: str = "t", **options: Any) -> AsyncIterator[Agent[str]]:
    toy.zero = began = anyio.current_time()

    def wall() -> Any:
        return T0 + timedelta(seconds=anyio.current_time() - began)

    agent = Agent(toy, name, kv, wall=wall, random=lambda: 0.0, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run)
        yield agent
        tasks.cancel_scope.cancel()
    if not kv.away:
        await agent.farewell(kv)
