"""A whole soak: warm-up, rest, load with churn, rest again, verdicts."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from kvnode.client import KvError, connect
from kvnode.testing.processes import NodeProcess, ProcessError
from kvnode.testing.proxy import Proxy, proxy

from .load import Meter, lasting, visit
from .measure import Counts, Row, counts_now, files_now, process_now
from .trend import Verdict
from .verdicts import Rest, verdicts_of

REST_TIMEOUT_S: Final = 120.0
"""For links, acknowledgements and forgetting to come to rest: a process that was killed counts as one for some 30 s."""
POLL_S: Final = 0.25
WINDOW_S: Final = 5.0
"""Between two measurements of a node, in a run long enough for LEAST_WINDOWS of them."""
LEAST_WINDOWS: Final = 20
MOST_RESTARTS: Final = 500
"""Each is remembered by design, with some 2 KB on every node: a long soak shall not mistake that for a leak."""
CUT_S: Final = 2.0
"""How long a link stays cut or frozen."""
ASK_TIMEOUT_S: Final = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, with how many nodes and calls a second in all; how often something comes or goes, restarts at most so
    often. In seconds.
    """

    load_s: float
    nodes: int = 3
    rate: float = 60.0
    seed: int = 1
    visit_every_s: float = 1.0
    cut_every_s: float = 8.0
    restart_least_s: float = 20.0

    @property
    def restart_every_s(self) -> float:
        """Between two restarts of the last node."""
        return max(self.load_s / MOST_RESTARTS, self.restart_least_s)

    @property
    def window_s(self) -> float:
        """Between two measurements of a node."""
        return min(self.load_s / LEAST_WINDOWS, WINDOW_S)

    @property
    def warm_up_s(self) -> float:
        """Of load before the first rest: every path has been written by then, every file is open."""
        return min(max(self.load_s / 10, 3.0), 60.0)


@dataclass(slots=True)
class Report:
    """What came of it."""

    rows: list[Row] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    visits: int = 0
    cuts: int = 0
    restarts: int = 0

    @property
    def is_flat(self) -> bool:
        """Whether nothing grew."""
        return all(verdict.ok for verdict in self.verdicts)

    def verdict(self, subject: str, what: str) -> Verdict:
        """One of the verdicts. Raises KeyError."""
        for verdict in self.verdicts:
            if (verdict.subject, verdict.what) == (subject, what):
                return verdict
        raise KeyError((subject, what))

    def lines(self) -> list[str]:
        """The summary."""
        calls, failed = sum(row.calls for row in self.rows), sum(row.failed for row in self.rows)
        head = f"{calls} calls ({failed} failed), {self.visits} visits, {self.cuts} cuts, {self.restarts} restarts"
        return [head, *(f"{_mark(v)} {v.subject:<7} {v.what:<12} {v.text}" for v in self.verdicts)]


def _mark(verdict: Verdict) -> str:
    return "ok  " if verdict.ok else "FAIL"


class Soak:
    """The nodes and what is done to them. All but the last node run from start to end."""

    def __init__(self, plan: Plan, nodes: Sequence[NodeProcess], links: Sequence[Proxy], say: Say) -> None:
        self.plan: Final = plan
        self.report: Final = Report()
        self._nodes: Final = tuple(nodes)
        self._links: Final = tuple(links)
        self._say: Final = say
        self._meters: Final = {node.name: Meter() for node in nodes}
        self._lasting: Final = tuple(node.name for node in nodes[:-1])
        self._began: Final = time.monotonic()

    async def run(self) -> Report:
        """All of it. Raises KvError and ProcessError if the nodes do not even run."""
        plan, meters = self.plan, self._meters.values()
        self._say(f"warming up for {plan.warm_up_s:.0f} s")
        await self._load(plan.warm_up_s, churn=False)
        before = await self._rest()
        for meter in meters:
            meter.take()
        self._say(f"load and churn for {plan.load_s:.0f} s")
        await self._load(plan.load_s, churn=True)
        self._say("coming to rest")
        after = await self._rest(before)
        for meter in meters:
            after.errors.update(meter.errors)
        self.report.verdicts += verdicts_of(self.report.rows, before, after, self._lasting)
        return self.report

    # -- load and churn --------------------------------------------------------------------------------------

    async def _load(self, time_s: float, *, churn: bool) -> None:
        plan = self.plan
        with anyio.move_on_after(time_s):
            async with anyio.create_task_group() as tasks:
                for number, node in enumerate(self._nodes):
                    rng, meter = random.Random(f"{plan.seed} {node.name}"), self._meters[node.name]
                    tasks.start_soon(lasting, node.address, node.name, meter, rng, plan.rate / len(self._nodes))
                    if churn:
                        tasks.start_soon(self._visit, node, random.Random(f"{plan.seed} visitors {number}"))
                if churn:
                    tasks.start_soon(self._cut)
                    tasks.start_soon(self._restart, self._nodes[-1])
                    for node in self._nodes:
                        tasks.start_soon(self._measure, node)
        for link in self._links:
            link.heal()
        if not self._nodes[-1].is_running:
            await anyio.to_thread.run_sync(self._nodes[-1].start)

    async def _visit(self, node: NodeProcess, rng: random.Random) -> None:
        while True:
            await anyio.sleep(self.plan.visit_every_s * 2 * rng.random())
            self.report.visits += await visit(node.address, rng)

    async def _cut(self) -> None:
        rng = random.Random(f"{self.plan.seed} cuts")
        while True:
            await anyio.sleep(self.plan.cut_every_s)
            link = rng.choice(self._links)
            rng.choice((link.drop, link.cut, link.freeze))()
            self.report.cuts += 1
            await anyio.sleep(CUT_S)
            link.heal()

    async def _restart(self, node: NodeProcess) -> None:
        for number in count(1):
            await anyio.sleep(self.plan.restart_every_s)
            with anyio.CancelScope(shield=True):  # a start that is left half way leaves a process behind
                await anyio.to_thread.run_sync(node.kill if number % 2 else node.terminate)
                await anyio.to_thread.run_sync(node.start)
            self.report.restarts += 1

    # -- measuring -------------------------------------------------------------------------------------------

    async def _measure(self, node: NodeProcess) -> None:
        while True:
            await anyio.sleep(self.plan.window_s)
            row = await self._row(node)
            if row is not None:
                self.report.rows.append(row)

    async def _row(self, node: NodeProcess) -> Row | None:
        """None of a node that is just being restarted."""
        calls, failed, p50_ms, p99_ms = self._meters[node.name].take()
        try:
            counts = await _counts_of(node)
            process, files = process_now(node.pid), files_now(node.data)
        except (KvError, OSError, ProcessError):
            return None
        held = (counts.entries, counts.tombstones, counts.incarnations)
        at_s = round(time.monotonic() - self._began, 1)
        return Row(at_s, node.name, *process, *files, *held, calls, failed, p50_ms, p99_ms)

    async def _rest(self, before: Rest | None = None) -> Rest:
        """Wait until nothing moves any more, and nothing is open that was not before; but not for ever."""
        last = rest = await self._rest_now()
        with anyio.move_on_after(REST_TIMEOUT_S):
            while True:
                await anyio.sleep(POLL_S)
                last, rest = rest, await self._rest_now()
                is_steady = rest.uses_no_more_than(before or last, self._lasting)
                if is_steady and last.is_whole and rest.is_whole:
                    break
        return rest

    async def _rest_now(self) -> Rest:
        """Processes are looked at a moment after the connections for asking have gone."""
        rest = Rest()
        for node in self._nodes:
            rest.counts[node.name] = await _counts_of(node)
        await anyio.sleep(POLL_S)
        for node in self._nodes:
            rest.processes[node.name] = process_now(node.pid)
            rest.files[node.name] = files_now(node.data)
        return rest


async def _counts_of(node: NodeProcess) -> Counts:
    async with connect(node.address, timeout=ASK_TIMEOUT_S) as kv:
        return await counts_now(kv)


# -- a whole run ---------------------------------------------------------------------------------------------


async def soak(plan: Plan, folder: Path, say: Say) -> Report:
    """Run nodes in `folder`, soak them, stop them. Raises ProcessError and KvError if they do not even run."""
    async with _cluster(plan, folder) as (nodes, links):
        return await Soak(plan, nodes, links, say).run()


@asynccontextmanager
async def _cluster(plan: Plan, folder: Path) -> AsyncIterator[tuple[list[NodeProcess], list[Proxy]]]:
    """Nodes n1, n2 ... each of which dials those before it, through a proxy each."""
    nodes: list[NodeProcess] = []
    links: list[Proxy] = []
    async with AsyncExitStack() as stack:
        for number in range(1, plan.nodes + 1):
            ways = [await stack.enter_async_context(proxy(node.port)) for node in nodes]
            links += ways
            node = NodeProcess(f"n{number}", folder, peers=[way.address for way in ways], args=("--no-discover",))
            stack.callback(node.kill)
            await anyio.to_thread.run_sync(node.start)
            nodes.append(node)
        yield nodes, links


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All measurements."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)
