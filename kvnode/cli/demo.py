"""``kv demo``: the whole of it in half a minute, on this machine, with nothing left behind.

Three nodes in a row, A - B - C, so that C hears of A only through B; a 1-Wire bus whose agent writes into A; a watch
on C. The link between B and C is cut, both sides are written to, A is killed, everything is healed: then nothing that
was acknowledged is missing, the conflict shows, and all three hold the same.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncclick as click

from kvnode.core.path import Path

from .command import command
from .ending import in_order
from .errors import CliError, Exit
from .render import canonical_json, short_value
from .settings import settings_of
from .text import printable

if TYPE_CHECKING:
    from kvnode.client import Change, Client
    from kvnode.testing.proxy import Proxy

    from .demo_parts import Child, DemoNode

LIMIT_S: Final = 60.0
ROOMS: Final = ("attic", "kitchen", "cellar")
TARGET: Final = "home.heating.target"
NOTE: Final = "home.note"
POLL_S: Final = 0.05


@command(
    "demo",
    local=True,
    help="""Run three nodes and a 1-Wire bus on this machine and show what happens when a link is cut and a node is
    killed.

    The bus is a real owserver with simulated sensors if that program is installed, else a simulation. Everything is
    in a temporary folder and on loopback ports, and is removed at the end. The exit code is 0 only if all went as
    told.""",
    examples=("kv demo", "kv demo --keep"),
)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@click.option("--simulated", is_flag=True, help="Take the simulated bus even if owserver is installed.")
@click.option("--limit", type=float, default=LIMIT_S, show_default=True, metavar="SECONDS", help="Give up after this.")
@click.pass_context
async def demo(ctx: click.Context, keep: bool, simulated: bool, limit: float) -> None:
    """See the help text above."""
    if sys.platform == "win32":
        raise CliError("the demo runs nodes, and nodes do not run on Windows")
    if find_spec("pyownet") is None:
        raise CliError("the demo reads thermometers, and for that pyownet is missing: pip install pyownet")

    async def told() -> None:
        with tempfile.TemporaryDirectory(prefix="kvnode-demo-") as folder:
            with anyio.move_on_after(limit) as scope:
                async with AsyncExitStack() as stack:
                    story = Story(FilePath(folder), stack, simulated=simulated)
                    await story.tell()
                    if keep:
                        scope.deadline = math.inf
                        settings_of(ctx).endless = True
                        story.say("", f"Everything goes on, in {folder}. Ctrl-C ends it. Try:", *story.hints())
                        await anyio.sleep_forever()
            if scope.cancelled_caught:
                raise CliError(f"the demo did not end within {limit:g} s: {story.step}")

    await in_order(told)


class Follower:
    """A watch that goes on in the background: what it has been told last, how often, and of how many gaps."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.values: dict[Path, Any] = {}
        self.changes = 0
        self.gaps = 0
        self.on_change: Callable[[Change], None] = lambda change: None

    async def run(self) -> None:
        """Until cancelled."""
        from kvnode.client import Change, Gap

        async with self._client.watch("home") as items:
            async for item in items:
                if isinstance(item, Change):
                    self.changes += 1
                    self.values[item.path] = item.value
                    self.on_change(item)
                self.gaps += isinstance(item, Gap)


class Story:
    """The steps, told as they are done. Raises CliError when something is not as it must be."""

    def __init__(self, folder: FilePath, stack: AsyncExitStack, *, simulated: bool) -> None:
        self._folder = folder
        self._simulated = simulated
        self._stack = stack
        self._started = time.monotonic()
        self._number = 0
        self._acknowledged: dict[str, set[str]] = {}
        self._clients: dict[str, Client] = {}
        self._nodes: dict[str, DemoNode] = {}
        self._agent: Child | None = None
        self._follower: Follower
        self.step = "nothing was done yet"

    async def tell(self) -> None:
        """All of it."""
        link = await self._start_nodes()
        await self._start_bus()
        await self._watch()
        await self._cut(link)
        await self._kill()
        await self._heal(link)
        await self._settle()
        await self._compare()
        self.say("", f"That took {time.monotonic() - self._started:.0f} s.")

    def hints(self) -> list[str]:
        """Commands to try while it goes on."""
        a, c = self._nodes["a"].address, self._nodes["c"].address
        return [f"  kv watch home --node {c}", f"  kv set {NOTE} hello --node {a}", f"  kv status --node {c}"]

    # -- telling ---------------------------------------------------------------------------------------------

    def say(self, *lines: str) -> None:
        """Lines for the reader, at once."""
        for line in lines:
            sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.flush()

    def _step(self, title: str) -> None:
        self._number += 1
        self.step = f"step {self._number}, {title!r}"
        self.say("", f"{self._number}. {title}")

    def _done(self, text: str) -> None:
        self.say(f"   {text}")

    async def _until(self, what: str, check: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is so; the time limit is that of the whole."""
        self.step = f"step {self._number}, waiting until {what}"
        while not await check():  # noqa: ASYNC110  # other processes have no event to wait for
            await anyio.sleep(POLL_S)

    # -- the steps -------------------------------------------------------------------------------------------

    async def _start_nodes(self) -> Proxy:
        from kvnode.client import connect
        from kvnode.testing.proxy import proxy

        from .demo_parts import DemoNode

        self._step("Three nodes in a row: a - b - c. What a says reaches c through b.")
        b = await self._start(DemoNode("b", self._folder))
        link = await self._stack.enter_async_context(proxy(b.port))
        await self._start(DemoNode("a", self._folder, [b.address]))
        await self._start(DemoNode("c", self._folder, [link.address]))
        for name, node in sorted(self._nodes.items()):
            connection = connect(node.address, author="demo")
            self._clients[name] = await self._stack.enter_async_context(connection)
            self._done(f"node {name} is ready on {node.address}")
        await self._until("the nodes are linked", self._all_linked)
        return link

    async def _start(self, node: DemoNode) -> DemoNode:
        await node.start(self._stack)
        self._nodes[node.name] = node
        return node

    async def _all_linked(self) -> bool:
        return await self._states("b") >= {("a", "linked"), ("c", "linked")}

    async def _states(self, name: str) -> set[tuple[str, str]]:
        """The peers of a node with the state of each."""
        status = await self._clients[name].status()
        return {(peer["name"], peer["state"]) for peer in status["peers"]}

    async def _start_bus(self) -> None:
        from .demo_parts import Child, running, start_bus

        self._step("A 1-Wire bus, and the agent that reads its thermometers into node a.")
        bus = await start_bus(self._folder, self._stack, simulated=self._simulated)
        self._done(f"{bus.what} serves {len(bus.sensors)} thermometers on {bus.address}")
        root = Path(("agent", "onewire", "demo"))
        await self._set("a", str(root), {"server": bus.address, "interval": 1})
        for room, rom in zip(ROOMS, bus.sensors, strict=False):
            await self._set("a", str(root / rom), {"dest": f"home.{room}.temp"})
        command = [sys.executable, "-m", "kvagents.onewire", "demo", "--node", self._nodes["a"].address]
        self._agent = await self._stack.enter_async_context(running(Child("agent", command, self._folder)))
        await self._agent.start(first_line=False)

    async def _watch(self) -> None:
        self._step("Watch the tree at c, two links away.")
        self._done(f"$ kv watch home --node {self._nodes['c'].address}")
        follower = self._follower = Follower(self._clients["c"])
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(tasks.cancel_scope.cancel)

        def show(change: Change) -> None:
            if len(follower.values) <= len(ROOMS):
                self._done(f"  {change.path} = {short_value(change.value)}  (written at {change.node})")

        async def all_rooms() -> bool:
            return len(follower.values) >= len(ROOMS)

        follower.on_change = show
        tasks.start_soon(follower.run)
        await self._until("temperatures arrive at c", all_rooms)
        follower.on_change = lambda change: None

    async def _cut(self, link: Proxy) -> None:
        self._step("Cut the link between b and c, and write on both sides.")
        link.cut()
        self._follower.changes = 0

        async def is_cut() -> bool:
            return ("c", "linked") not in await self._states("b")

        await self._until("b notices the cut", is_cut)
        self._done("b and c do not hear each other any more")
        await self._set("a", TARGET, 21)
        await self._set("c", TARGET, 18)
        await self._set("c", NOTE, "written at c while it was alone")

    async def _kill(self) -> None:
        self._step("Kill node a, with SIGKILL, right behind a write that it acknowledged.")
        await self._set("a", "home.attic.window", "open")
        child = self._nodes["a"].child
        assert child is not None
        await child.kill()
        self._done("a is dead; the agent waits for it, b and c go on")
        await self._set("b", "home.cellar.window", "closed")
        await self._start(self._nodes["a"])
        self._done("a is started again, from its disk")

        async def is_back() -> bool:
            return ("a", "linked") in await self._states("b")

        await self._until("a is linked again", is_back)
        await self._until("the agent writes again", self._fresh_temperatures)
        self._done("a is linked to b again, and the agent writes again")

    async def _fresh_temperatures(self) -> bool:
        """Whether a temperature came from the new run of node a, as b sees it."""
        incarnation = (await self._clients["a"].status())["incarnation"]
        async with self._clients["b"].tree("home", "home.+.temp") as rows:
            return any([reading.dot.inc == incarnation async for reading in rows])

    async def _heal(self, link: Proxy) -> None:
        self._step("Heal the link.")
        link.heal()
        await self._until("b and c are linked again", self._all_linked)
        self._done("b and c are linked again")
        await self._until("the watch at c has caught up", self._caught_up)
        self._done(f"the watch at c went on by itself: {self._follower.changes} changes since the cut, no gap")
        await self._until("the conflict shows at a", lambda: self._in_conflict("a"))
        await self._until("the conflict shows at c", lambda: self._in_conflict("c"))
        self._done(f"$ kv conflicts show {TARGET}")
        reading = await self._clients["c"].get(TARGET)
        for at, sibling in enumerate(reading.siblings):
            reads = "  <- reads, until somebody decides" if at == 0 else ""
            self._done(f"  {short_value(sibling.value)}  written at {sibling.node}{reads}")
        if {s.value for s in reading.siblings} != {18, 21}:
            raise CliError(f"the conflict at {TARGET} does not hold both values", Exit.FAILED)

    async def _caught_up(self) -> bool:
        return self._follower.values.get(Path.parse("home.cellar.window")) == "closed"

    async def _in_conflict(self, name: str) -> bool:
        return (await self._clients[name].get(TARGET)).conflict

    async def _settle(self) -> None:
        self._step("Decide: any write by somebody who has seen both ends the conflict.")
        reading = await self._clients["c"].get(TARGET)
        await self._clients["c"].set(TARGET, 20, expect=reading.dots, ack="all", timeout=LIMIT_S)
        self._acknowledged[TARGET] = {"20"}
        self._done(f"$ kv conflicts resolve {TARGET} --value 20 --ack all   (written, all nodes have it on disk)")

    async def _compare(self) -> None:
        self._step("End the agent, and compare.")
        assert self._agent is not None
        await self._agent.stop()
        await self._until("all nodes hold the same", self._same)
        for name in sorted(self._clients):
            self._done(f"$ kv dump --node {self._nodes[name].address} | b2sum   {await self._digest(name)}")
        await self._check_acknowledged()
        self._done("equal, and nothing that was acknowledged is missing")
        await self._until("the watch at c shows what c holds", self._watch_is_right)
        if self._follower.gaps:
            raise CliError("the watch at c told of a gap")
        self._done("and the watch at c has shown exactly that")

    async def _same(self) -> bool:
        return len({await self._digest(name) for name in self._clients}) == 1

    async def _digest(self, name: str) -> str:
        """A hash of what ``kv dump`` prints."""
        from .dump import dump_row

        now_ms = time.time_ns() // 1_000_000
        digest = blake2b(digest_size=8)
        async with self._clients[name].dump() as rows:
            async for row in rows:
                if line := dump_row(row.key, row.record, now_ms):
                    digest.update(canonical_json(line).encode() + b"\n")
        return digest.hexdigest()

    # -- writing ---------------------------------------------------------------------------------------------

    async def _set(self, name: str, path: str, value: Any) -> None:
        """Write, wait for the acknowledgement, and remember it."""
        node = self._nodes[name]
        shown = short_value(value)
        quoted = f"'{shown}'" if set(shown) & set(' {["') else shown
        await self._clients[name].set(path, value, timeout=LIMIT_S)
        self._acknowledged.setdefault(path, set()).add(shown)
        self._done(f"$ kv set {path} {quoted} --node {node.address}")

    async def _check_acknowledged(self) -> None:
        """Everything that was acknowledged is there, at every node."""
        for name, client in self._clients.items():
            for path, values in self._acknowledged.items():
                found = await client.get(path)
                if short_value(found.value) not in values:
                    raise CliError(f"node {name} lost {path}: it reads {found.value!r}")

    async def _watch_is_right(self) -> bool:
        async with self._clients["c"].tree("home") as rows:
            tree = {reading.path: reading.value async for reading in rows}
        return tree == self._follower.values
