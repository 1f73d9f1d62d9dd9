"""Clients that race for one entry by compare-and-set, at one real driver.

The simulator's clients talk to a replica one at a time, so it cannot tell whether the driver lets two of them in at
once. Here tasks of one event loop do: each reads a counter and sets it one higher, if it still is as it was read. What
is checked is the history of what the clients were told, nothing inside the node.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

import anyio
import anyio.lowlevel

from kvnode.codec.values import pack, unpack
from kvnode.core.effects import Change, Now
from kvnode.core.path import Path
from kvnode.core.policy import live
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot
from kvnode.node.driver import Driver, system_clock
from kvnode.node.errors import RefusedError
from kvnode.store.memory import MemoryDisk, MemoryStore

_WHERE: Final = Path(("race", "counter"))
_LIMIT_S: Final = 60.0

Expected = frozenset[Dot]


def race(seed: int, *, clients: int = 4, rounds: int = 4) -> list[str]:
    """Let `clients` raise the counter `rounds` times each; tells what they saw that cannot be."""
    return anyio.run(_race, seed, clients, rounds)


async def _race(seed: int, clients: int, rounds: int) -> list[str]:
    rng = Random(f"kvnode race {seed}")
    store = MemoryStore(MemoryDisk())
    replica = Replica("A", session=seed, random_bits=rng.getrandbits, now=Now(0, 0), loaded=store.load())
    driver = Driver(replica, store)
    won: list[Expected] = []
    with anyio.fail_after(_LIMIT_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(driver.run)
            async with anyio.create_task_group() as racers:
                for number in range(clients):
                    racers.start_soon(_raise_it, driver, rounds, Random(f"{seed} {number}"), won)
            driver.stop()
    store.close()
    return _impossible(won, _read(driver)[1], clients * rounds)


async def _raise_it(driver: Driver, rounds: int, rng: Random, won: list[Expected]) -> None:
    done = 0
    while done < rounds:
        for _ in range(rng.randrange(3)):
            await anyio.lowlevel.checkpoint()
        expect, count = _read(driver)
        try:
            await driver.propose([Change(_WHERE, pack(count + 1), expect=expect)])
        except RefusedError:
            continue
        won.append(expect)
        done += 1


def _read(driver: Driver) -> tuple[Expected, int]:
    """The dots that a client would name, and the number."""
    shown = live(driver.replica.tree.at(_WHERE), system_clock().wall)
    return frozenset(v.dot for v in shown), unpack(bytes(shown[0].details.value)) if shown else 0


def _impossible(won: list[Expected], count: int, raised: int) -> list[str]:
    """Whoever was told of success was alone with what it expected, and all of these show in the end."""
    out = []
    for expect, winners in Counter(won).items():
        if winners > 1:
            out.append(
                f"{winners} clients set the same {' '.join(map(str, expect)) or 'absent entry'}, each told it was alone"
            )
    if count != raised:
        out.append(f"the counter was raised {raised} times and is {count}")
    return out
