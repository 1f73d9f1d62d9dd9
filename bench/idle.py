"""Traffic at rest: ``python -m bench.idle [NODES] [SECONDS]``, ten nodes in a full mesh and a minute by default.

Each link goes through a tap that counts the bytes of messages by kind; TCP/IP adds some 52 bytes to each packet, and as
much for its acknowledgement. The nodes hold a few values, so that there is something to compare. At the end one node
is started anew and told nothing that it does not know: what that costs on one link is the sync without a difference.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import uvloop

from bench.nodes import VALUE, Cost, Tap, folder, tap, until_linked
from kvnode.client import Put, connect
from kvnode.testing.processes import NodeProcess

PACKET_BYTES = 2 * 52
"""TCP/IPv4 headers with time stamps, of a packet and of its acknowledgement."""
SETTLE_S = 15.0
"""From the last change until measuring starts."""


async def measure(where: Path, count: int, seconds: float) -> None:
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(ExitStack())
        nodes: list[NodeProcess] = []
        taps: list[Tap] = []
        for number in range(count):
            own = [await stack.enter_async_context(tap(node)) for node in nodes]
            taps += own
            node = NodeProcess(f"n{number}", where, peers=[t.address for t in own])
            nodes.append(await asyncio.to_thread(processes.enter_context, node))
        await until_linked(nodes)
        for node in nodes:  # so that each has an incarnation of its own to be told of
            async with connect(node.address) as kv:
                await kv.batch([Put(f"idle.{node.name}.k{at}", VALUE) for at in range(10)], ack="all", timeout=60)
        await asyncio.sleep(SETTLE_S)
        for each in taps:
            each.clear()
        cost = Cost(nodes)
        await asyncio.sleep(seconds)
        _tell(taps, count, seconds)
        print(cost.told("at rest", int(seconds), "s"), flush=True)
        await _again(nodes[-1], taps[-(count - 1) :])


def _tell(taps: list[Tap], count: int, seconds: float) -> None:
    kinds, messages = Counter[str](), Counter[str]()
    for each in taps:
        kinds += each.there + each.back
        messages += each.messages
    total = kinds.total() / count / seconds
    packets = messages.total() / count / seconds
    print(f"{count} nodes, {seconds:.0f} s: each sends {total:.0f} B/s in {packets:.2f} messages/s", end="; ")
    print(f"with TCP/IP about {total + packets * PACKET_BYTES:.0f} B/s")
    for kind, size in kinds.most_common():
        rate = messages[kind] / count / seconds
        print(f"  {kind:14s} {size / count / seconds:8.1f} B/s {rate:7.2f}/s {size / messages[kind]:7.0f} B each")


async def _again(node: NodeProcess, taps: list[Tap]) -> None:
    """Break the links of one node, which comes back with what it had."""
    for each in taps:
        each.cut()
        each.clear()
        each.heal()
    await until_linked([node], len(taps))
    await asyncio.sleep(2)
    kinds, messages = Counter[str](), Counter[str]()
    for each in taps:
        kinds += each.there + each.back
        messages += each.messages
    print(f"sync without a difference: {kinds.total() / len(taps):.0f} bytes a link, both ways")
    for kind, size in kinds.most_common():
        print(f"  {kind:14s} {size / len(taps):8.0f} B in {messages[kind] / len(taps):.1f} messages")


def main() -> None:
    given = [float(word) for word in sys.argv[1:3]]
    count, seconds = (*given, *(10.0, 60.0)[len(given) :])
    with folder() as where:
        uvloop.run(measure(where, int(count), seconds))


if __name__ == "__main__":
    main()
