"""An agent: its life from connecting to saying goodbye, independent of what it connects to.

An agent of kind K and name N reads its configuration at and below ``agent.K.N``, follows changes there, keeps one
binding running for each thing it configures, and reports below ``@.errors.K.N`` and ``@.status.agent.K.N``. What a
binding is, and how it runs, comes from its :class:`AgentKind`. Of several instances with one name only the one that
holds the claim ``@.claims.K.N`` does any of that; the others stand by. Bindings that drive a bus share it with no other
agent: see ``buses``.
"""

from __future__ import annotations

import logging
import os
import random as random_module
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, Generic, TypeVar

import anyio

from kvagents.framework.buses import Buses
from kvagents.framework.claim import CLAIMS, Terms
from kvagents.framework.config import Config, Plan, Problem
from kvagents.framework.keeper import Keeper, Process, running
from kvagents.framework.kv import Kv
from kvagents.framework.link import WRITE_TIMEOUT_S, Link
from kvagents.framework.reporter import Reporter
from kvagents.framework.retry import DEFAULT_POLICY, UNTRIED, RetryPolicy
from kvagents.framework.supervise import Run, Supervisor, describe
from kvnode.client import (
    ABSENT,
    AckTimeout,
    CasFailed,
    Change,
    Gap,
    KvError,
    NotFound,
    Reading,
    Unavailable,
    Uptodate,
)
from kvnode.core.path import Path
from kvnode.data.errors import Severity

log = logging.getLogger(__name__)

Spec = TypeVar("Spec")

ROOT: Final = Path(("agent",))
QUIET_S: Final = 0.05
"""Changes of the configuration that come closer together than this are applied at once."""
CAS_ATTEMPTS: Final = 5
STAND_BY_S: Final = 2.0
"""A binding that waits longer for its bus reports that."""


@dataclass(frozen=True, slots=True)
class Option:
    """An attribute of the agent's own entry that can be given on the command line."""

    key: str
    metavar: str
    help: str
    read: Callable[[str], Any] = str
    """Makes the value from the text; raises ValueError with one line."""


class AgentKind(ABC, Generic[Spec]):
    """One kind of agent. Subclasses are found by entry points of the group ``kvnode.agents``."""

    kind: ClassVar[str]
    """Its name in paths and commands."""
    summary: ClassVar[str] = ""
    """One line for people."""
    options: ClassVar[Sequence[Option]] = ()
    terms: ClassVar[Terms] = Terms()
    """How its buses are claimed, and whether two holders would do harm."""

    @abstractmethod
    def plan(self, config: Config) -> Plan[Spec]:
        """What a configuration asks for. Pure; two calls with equal entries give equal specifications."""

    def bus(self, spec: Spec) -> Path | None:
        """What a binding drives, so that no other agent drives it meanwhile: a path, such as
        :func:`kvagents.framework.buses.network_bus` makes. None where others do not matter.
        """
        return None

    @abstractmethod
    async def run(self, path: Path, spec: Spec, link: Link) -> None:
        """Run one binding until cancelled. Raises :class:`Failed` when it cannot go on; it is then run again."""


class Agent(Generic[Spec]):
    """A running agent. `overrides` are attributes to write into its own entry before anything else."""

    def __init__(
        self,
        kind: AgentKind[Spec],
        name: str,
        kv: Kv,
        *,
        overrides: Mapping[str, Any] | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[], float] = random_module.random,
        policy: RetryPolicy = DEFAULT_POLICY,
        terms: Terms | None = None,
        process: Process | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.root = ROOT / (kind.kind, name)
        self._kv = kv
        self._overrides = dict(overrides or {})
        self._wall = wall
        self._random = random
        self._policy = policy
        self._reporter = Reporter(kv, kind.kind, name, self.root, wall=wall)
        claim = partial(Keeper, kv, holder=f"{kind.kind}/{name}", terms=terms or kind.terms, wall=wall, process=process)
        self._keeper = keeper = claim(CLAIMS / (kind.kind, name))
        self._buses = Buses(lambda path: claim(path, session=keeper.session, is_dead=keeper.outlived))
        self._reporter.facts = {"bindings": 0, "pid": os.getpid(), "session": self._keeper.session}
        self._entries: dict[Path, Any] = {}
        self._complete = False
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Run until cancelled. A node that is not there is waited for, for as long as it takes."""
        await self._insist(self._override, "configure")
        log.info("connected", extra={"configuration": str(self.root)})
        with running(self._keeper.session):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keeper.run)
                while True:
                    await self._keeper.until(drives=True)
                    await self._keeper.while_it_drives(self._drive)
                    await self._buses.keep_only((), self._kv)

    async def farewell(self, kv: Kv) -> None:
        """Tell the tree that the agent has ended, after :meth:`run`. Raises KvError.

        `kv` is a connection of its own: the one that :meth:`run` used was cancelled along with it.
        """
        if self._keeper.drives:
            await self._reporter.farewell(kv)
            await self._buses.keep_only((), kv)
            await self._keeper.release(kv)

    @property
    def drives(self) -> bool:
        """Whether this instance holds the claim."""
        return self._keeper.drives

    async def _drive(self) -> None:
        await self._insist(self._reporter.load, "read the error records")
        self._changed = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reporter.run)
            tasks.start_soon(self._insist, self._watch, "watch the configuration")
            await self._apply_for_ever(tasks)

    async def _insist(self, call: Callable[[], Any], what: str) -> None:
        """Call until it succeeds, however often the node goes away."""
        health = UNTRIED
        while True:
            try:
                await call()
                return
            except KvError as error:
                health = health.failed()
                if health.failures == 1:
                    log.warning("cannot %s yet: %s", what, error)
            await anyio.sleep(self._policy.delay_s(health.failures, self._random))

    async def _override(self) -> None:
        """Bring the agent's own entry in line with what was given at the start."""
        for _ in range(CAS_ATTEMPTS if self._overrides else 0):
            try:
                reading: Reading | None = await self._kv.get(self.root)
            except NotFound:
                reading = None
            old = None if reading is None else reading.value
            new = {**(old if isinstance(old, dict) else {}), **self._overrides}
            if new == old:
                return
            try:
                expect = ABSENT if reading is None else reading.dots
                await self._kv.set(self.root, new, timeout=WRITE_TIMEOUT_S, expect=expect)
            except CasFailed:
                continue
            except AckTimeout:
                pass  # the write stands
            return

    # -- configuration ------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        self._complete = False
        fresh: dict[Path, Any] = {}
        async with self._kv.watch(self.root) as items:
            async for item in items:
                match item:
                    case Gap():
                        pass  # what differs follows
                    case Uptodate():
                        if not self._complete:
                            self._entries = fresh
                            self._complete = True
                        self._changed.set()
                    case Change():
                        entries = self._entries if self._complete else fresh
                        if item.value is ABSENT:
                            entries.pop(item.path, None)
                        else:
                            entries[item.path] = item.value
                        self._changed.set()
        raise Unavailable("unavailable", "the watch ended")

    async def _apply_for_ever(self, tasks: anyio.abc.TaskGroup) -> None:
        supervisor = Supervisor(tasks, self._run_binding, self._reporter, random=self._random, policy=self._policy)
        while True:
            await self._changed.wait()
            await anyio.sleep(QUIET_S)
            self._changed = anyio.Event()
            if not self._complete:
                continue
            config = Config(self.root, self._entries)
            plan, buses = self._plan(config)
            # Before the bindings start: they know which records below them are still of use.
            self._reporter.tell_problems(plan.problems, config)
            self._reporter.keep_below(plan.bindings, config)
            self._buses.keep(buses, tasks)
            await supervisor.apply(plan.bindings)
            await self._buses.keep_only(buses, self._kv)
            self._reporter.facts = {**self._reporter.facts, "bindings": supervisor.bindings}
            self._reporter.status_changed()
            log.info("configured", extra={"bindings": supervisor.bindings, "problems": len(plan.problems)})

    def _plan(self, config: Config) -> tuple[Plan[Spec], set[Path]]:
        """What the configuration asks for, and the buses for that."""
        try:
            plan = self.kind.plan(config)
            return plan, {bus for bus in map(self.kind.bus, plan.bindings.values()) if bus is not None}
        except Exception as error:
            # A bug; but mending the configuration must be possible without a restart, whatever it holds.
            code, message, _ = describe(error)
            return Plan({}, (Problem(self.root, message, code=code),)), set()

    async def _run_binding(self, path: Path, spec: Spec, run: Run) -> None:
        bus = self.kind.bus(spec)
        if bus is None:
            await self._run_with(self._keeper, path, spec, run)
            return
        keeper, has_ended = self._buses[bus], False

        async def drive() -> None:
            nonlocal has_ended
            await self._run_with(keeper, path, spec, run)
            has_ended = True

        while not has_ended:
            await self._stand_by(keeper, bus, path)
            await keeper.while_it_drives(drive)

    async def _stand_by(self, keeper: Keeper, bus: Path, path: Path) -> None:
        """Wait until the bus is ours; say so if that takes long."""
        with anyio.move_on_after(STAND_BY_S):
            await keeper.until(drives=True)
        if not keeper.drives:
            who = keeper.holder.holder if keeper.holder is not None else "nobody yet"
            self._reporter.failed(path, "claimed", f"standing by: {bus} is driven by {who}", Severity.WARNING)
            await keeper.until(drives=True)

    async def _run_with(self, keeper: Keeper, path: Path, spec: Spec, run: Run) -> None:
        """Run a binding with the token of this claim, which we hold."""
        link = Link(
            self._kv,
            path,
            run,
            self._reporter,
            wall=self._wall,
            random=self._random,
            policy=self._policy,
            drives=lambda: keeper.drives and self._keeper.drives,
            token=keeper.token,
        )
        await self.kind.run(path, spec, link)
