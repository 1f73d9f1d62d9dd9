"""A whole torture: cluster, load and faults together, then quiet, and the judgement."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import anyio
from anyio.to_thread import run_sync

from .checker import Violation, check, different_words
from .checker.evidence import parse_dump
from .cluster import Cluster, is_quiet, running_cluster
from .faults import Faults
from .history import History, read_history
from .load import Load, Recorder, Watcher, recorder
from .networks import Kind, open_network
from .plan import ROUND_S, Round, make_plan

QUIET_LIMIT_S: Final = 90.0
WATCH_LIFE_S: Final = 15.0
"""One watch of each node ends and begins anew after this time."""
_POLL_S: Final = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Config:
    """What to do. `seconds` is the time of load and faults; `pause_s` the mean pause of each client between its
    operations; `power_cut` says whether all nodes are killed at once in the end.
    """

    seed: int
    nodes: int = 3
    kills: int = 5
    seconds: float = 30.0
    round_s: float = ROUND_S
    clients_per_node: int = 2
    pause_s: float = 0.03
    power_cut: bool = True
    network: Kind = "auto"


@dataclass(slots=True)
class Report:
    """What came out. `counts` are the records of the history by kind, `done` the faults; `healing_s` see
    :class:`~.faults.Faults`; `quiet_s` the seconds from the end of load until all nodes said that they agree.
    """

    config: Config
    network: str
    counts: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    healing_s: list[float] = field(default_factory=list)
    quiet_s: float = 0.0
    dumps: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary, for people."""
        counts, done, status = self.counts, self.done, next(iter(self.statuses.values()))
        healing = f"p50 {median(self.healing_s):.2f} s, max {max(self.healing_s):.2f} s"
        answers = ", ".join(f"{counts.get(kind, 0)} {kind}" for kind in ("ok", "stands", "fail", "info"))
        left = {node: (status["conflicts"], status["tombstones"]) for node, status in self.statuses.items()}
        reports = {f"{node}: {row['kind']}" for node, status in self.statuses.items() for row in status["reports"]}
        return [
            f"seed {self.config.seed}: {self.config.nodes} nodes on {self.network}",
            f"{counts.get('invoke', 0)} operations ({answers}), {counts.get('seen', 0)} items of watches",
            f"{done.get('kill', 0)} kills, {done.get('stop', 0)} stops, {done.get('block', 0)} cuts",
            f"{len(self.healing_s)} healings, {healing}; all quiet {self.quiet_s:.2f} s after the load",
            f"{status['entries']} entries; conflicts and tombstones {left}",
            f"reports of the nodes: {', '.join(sorted(reports)) or 'none'}",
            f"{len(self.violations)} violations",
            *(f"  {violation}" for violation in self.violations),
        ]


async def torture(config: Config, folder: Path, say: Say) -> Report:
    """Run it in `folder`, which afterwards holds the history, the stores, logs and dumps. Raises NetworkError,
    ProcessError.
    """
    rng = random.Random(config.seed)
    names = [chr(ord("a") + at) for at in range(config.nodes)]
    plan = make_plan(rng, names, kills=config.kills, seconds=config.seconds, round_s=config.round_s)
    with ExitStack() as stack:
        network = stack.enter_context(open_network(names, config.network))
        say(f"seed {config.seed}: {config.nodes} nodes on {network.kind}, {len(plan)} rounds, in {folder}")
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kv-")))  # their paths must be short
        cluster = await run_sync(stack.enter_context, running_cluster(network, folder, sockets))
        history = stack.enter_context(History(folder / "history.jsonl", time.monotonic_ns))
        report = Report(config, network.kind, history.counts)
        await _Run(report, cluster, history, rng, say).whole(plan)
    for node, text in report.dumps.items():
        (folder / f"{node}.dump").write_text(text, encoding="utf-8")
    say("judging")
    records = read_history(folder / "history.jsonl")
    report.violations += await run_sync(check, records, report.dumps, report.statuses)
    return report


class _Run:
    """What :func:`torture` does once the nodes run."""

    def __init__(self, report: Report, cluster: Cluster, history: History, rng: random.Random, say: Say) -> None:
        self._report: Final = report
        self._config: Final = report.config
        self._cluster: Final = cluster
        self._history: Final = history
        self._rng: Final = rng
        self._say: Final = say

    async def whole(self, plan: list[Round]) -> None:
        async with AsyncExitStack() as stack:
            hands = {node: await self._client(stack, f"hand-{node}", node) for node in self._cluster.nodes}
            loads = [await self._load(stack, node, at) for node in hands for at in range(self._config.clients_per_node)]
            watchers = [await self._watcher(stack, node, latest) for node in hands for latest in (False, True)]
            async with anyio.create_task_group() as tasks:
                for watcher in watchers:
                    tasks.start_soon(watcher.run)
                for hand in hands.values():
                    tasks.start_soon(self._watch_anew, hand)
                await self._under_load(loads, plan, Faults(self._cluster, hands, self._history))
                await self._quiet(list(hands.values()))
                await self._finish(watchers)
                tasks.cancel_scope.cancel()
        if self._config.power_cut:
            await self._cut_power()

    # -- clients ---------------------------------------------------------------------------------------------

    async def _client(self, stack: AsyncExitStack, name: str, node: str) -> Recorder:
        address = self._cluster.nodes[node].address
        return await stack.enter_async_context(recorder(name, node, address, self._history))

    async def _load(self, stack: AsyncExitStack, node: str, number: int) -> Load:
        client = await self._client(stack, f"{node}{number}", node)
        return Load(client, random.Random(self._rng.random()), self._config.pause_s)

    async def _watcher(self, stack: AsyncExitStack, node: str, latest: bool) -> Watcher:
        client = await self._client(stack, "", node)
        return Watcher(client.client, node, "shared", self._history, latest=latest)

    async def _watch_anew(self, hand: Recorder) -> None:
        """Watches that begin in the midst of everything."""
        while True:
            with anyio.move_on_after(WATCH_LIFE_S):
                await Watcher(hand.client, hand.node, "own", self._history, latest=False).run()

    # -- phases ----------------------------------------------------------------------------------------------

    async def _under_load(self, loads: list[Load], plan: list[Round], faults: Faults) -> None:
        stop = anyio.Event()
        self._report.done, self._report.healing_s = faults.done, faults.healing_s
        async with anyio.create_task_group() as tasks:
            for load in loads:
                tasks.start_soon(load.run, stop)
            for number, round in enumerate(plan, 1):
                healed_s = await faults.go_through(round)
                operations = self._history.counts.get("invoke", 0)
                done = ", ".join(f"{count} {what}" for what, count in faults.done.items())
                self._say(
                    f"{number}/{len(plan)} {round.shape}: healed in {healed_s:.2f} s; {operations} operations; {done}"
                )
                if healed_s == float("inf"):
                    self._report.violations.append(Violation("healing", f"round {number}", "it takes too long"))
            stop.set()

    async def _quiet(self, hands: list[Recorder]) -> None:
        """Wait until the nodes say that they agree, and take down what they hold."""
        report = self._report
        begin = anyio.current_time()
        while True:
            report.statuses = {hand.node: await hand.client.status() for hand in hands}
            report.quiet_s = anyio.current_time() - begin
            quiet = is_quiet(list(report.statuses.values()))
            if (quiet and not different_words(report.statuses)) or report.quiet_s > QUIET_LIMIT_S:
                break
            await anyio.sleep(_POLL_S)
        if not quiet:
            report.violations.append(Violation("healing", "the end", "the nodes do not come to agree"))
        report.dumps = await run_sync(self._cluster.dumps)

    async def _finish(self, watchers: list[Watcher]) -> None:
        """Give watches the time to end with what their node holds; the checker says whether they do."""
        with anyio.move_on_after(QUIET_LIMIT_S):
            for watcher in watchers:
                await watcher.until_shows(dict(parse_dump(self._report.dumps[watcher.node])))
        for watcher in watchers:
            watcher.finish()

    async def _cut_power(self) -> None:
        """What was quiet and equal has to be on the disks."""
        self._say("killing all nodes at once")
        await run_sync(self._cluster.restart_all)
        for node, after in (await run_sync(self._cluster.dumps)).items():
            if after != self._report.dumps[node]:
                self._report.violations.append(Violation("vanished", node, "it holds something else after a power cut"))
