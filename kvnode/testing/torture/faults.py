"""Doing what a plan says, and measuring how long the cluster takes to heal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import anyio
from anyio.to_thread import run_sync

from kvnode.client import KvError
from kvnode.testing.processes import ProcessError

from .cluster import Cluster
from .history import Fault, History, WriteOf
from .load import Recorder
from .network import Cut
from .plan import Round, Step

HEAL_LIMIT_S: Final = 90.0
POLL_S: Final = 0.05
SIGN_PATH: Final = "heal"
"""Below it each node's last sign before a healing."""


class Faults:
    """Does things to nodes and network, and writes them into the history. `hands` are a client of each node.

    `done` counts what was done by kind; `healing_s` has the seconds from each healing until every node had what every
    other one had written just before it, infinite if that took longer than :data:`HEAL_LIMIT_S`.
    """

    def __init__(self, cluster: Cluster, hands: Mapping[str, Recorder], history: History) -> None:
        self.done: Final[dict[str, int]] = {}
        self.healing_s: Final[list[float]] = []
        self._cluster: Final = cluster
        self._hands: Final = hands
        self._history: Final = history
        self._cuts: frozenset[Cut] = frozenset()
        self._turns: Final = {node: anyio.Lock() for node in hands}

    async def go_through(self, round: Round) -> float:
        """Do all of a round, heal, and wait until that shows; gives the seconds that the healing took. Raises
        ProcessError, alone or in a group, if a node does not start, or ended by itself.
        """
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:  # a start takes a while, and must not hold up other nodes
            for step in round.steps:
                await anyio.sleep_until(begin + step.at_s)
                tasks.start_soon(self._do, step)
        await anyio.sleep_until(begin + round.length_s)
        for name, node in self._cluster.nodes.items():
            if not node.is_running:
                raise ProcessError(f"{name} ended by itself; its log is {node.log}")
        signs = await self._give_signs()
        healed = time.monotonic()
        await self._block(frozenset())
        with anyio.move_on_after(HEAL_LIMIT_S) as limit:
            await self._until_seen(signs)
        took_s = float("inf") if limit.cancelled_caught else time.monotonic() - healed
        self.healing_s.append(took_s)
        return took_s

    # -- doing -----------------------------------------------------------------------------------------------

    async def _do(self, step: Step) -> None:
        self.done[step.what] = self.done.get(step.what, 0) + 1
        if step.what == "block":
            await self._block(step.cuts)
            return
        node = self._cluster.nodes[step.node]
        deed = {"kill": node.kill, "start": node.start, "stop": node.pause, "cont": node.resume}[step.what]
        async with self._turns[step.node]:
            self._history.add(Fault(self._history.now, step.what, step.node))
            await run_sync(deed)

    async def _block(self, cuts: frozenset[Cut]) -> None:
        """What is certainly blocked: what stays so, while it changes; the rest, once that is done."""
        history = self._history
        history.add(Fault(history.now, "cuts", cuts=tuple(sorted(self._cuts & cuts))))
        await run_sync(self._cluster.network.block, cuts)
        history.add(Fault(history.now, "cuts", cuts=tuple(sorted(cuts))))
        self._cuts = cuts

    # -- healing ---------------------------------------------------------------------------------------------

    async def _give_signs(self) -> dict[str, str]:
        """Let each node write something new; gives the values by path."""
        signs: dict[str, str] = {}

        async def one(hand: Recorder) -> None:
            path, value = f"{SIGN_PATH}.{hand.node}", hand.value()
            while not await hand.write(WriteOf(path, value)):
                value = hand.value()
            signs[path] = value

        async with anyio.create_task_group() as tasks:
            for hand in self._hands.values():
                tasks.start_soon(one, hand)
        return signs

    async def _until_seen(self, signs: Mapping[str, str]) -> None:
        async with anyio.create_task_group() as tasks:
            for hand in self._hands.values():
                tasks.start_soon(_until_node_shows, hand, signs)


async def _until_node_shows(hand: Recorder, signs: Mapping[str, str]) -> None:
    while True:
        try:
            async with hand.client.tree(SIGN_PATH) as rows:
                found = {str(row.path): row.value async for row in rows}
        except KvError:
            found = {}
        if signs.items() <= found.items():
            return
        await anyio.sleep(POLL_S)
