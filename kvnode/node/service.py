"""A whole node as a process: store, replica, driver, peers, clients, health, from start to a clean end.

Peers and clients come to one listener; the first frame tells which. The end is in order: no new connections, the last
commit, answers to those who wait for it, what is queued for peers; and it is bounded in time.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import random
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from kvnode.client.protocol import ClientHello
from kvnode.client.wire import WireError, first_frame
from kvnode.codec.framing import FrameError
from kvnode.core.effects import Now, Report
from kvnode.core.replica import Replica
from kvnode.data.logs import RecentLines, set_up_logging
from kvnode.store.base import Store
from kvnode.transport.address import Address, parse_address
from kvnode.transport.base import Connection, Listener
from kvnode.transport.tcp import TcpTransport

from .clients import ClientServer
from .config import NodeConfig
from .discovery import is_wildcard, own_addresses
from .doctor import Doctor
from .driver import Driver, running_clock
from .errors import StartError, Stopping
from .frames import Frames
from .history import keep_swept
from .inspecting import Inspector
from .leases import keep_leases
from .mdns import announced
from .metrics import metrics_of, reasons_not_ready
from .opening import listening, opened
from .partitions import keep_partitions
from .peers import Peers
from .retired import tell_when_retired
from .scrubbing import Scrubber
from .settings import Settings
from .systemd import ServiceManager
from .troubles import Troubles

GREETING_TIMEOUT_S: Final = 10.0
"""A connection that says nothing for so long is closed."""
STOP_TIMEOUT_S: Final = 5.0
"""For the orderly end; a commit that is under way is waited for in any case."""
ANSWER_TIME_S: Final = 0.05
"""At the end, for those whose writes have just become durable to hear of it."""
ANNOUNCE_DELAY_S: Final = 1.0
"""Own addresses that turn up within this time are announced together."""
EXIT_FAILED: Final = 70
_SOMEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation: the way there tells this machine's own address; nothing is sent."""

_log: Final = logging.getLogger(__name__)

Ready = Callable[[Address], None]


class Node:
    """A node of this process. `advertise` are the addresses it announces (None: found out), `discover` whether it dials
    those that others announce, `recent_lines` gives the last lines of the log.
    """

    def __init__(
        self,
        config: NodeConfig,
        store: Store,
        replica: Replica,
        listeners: Sequence[Listener],
        *,
        advertise: Sequence[str] | None = None,
        discover: bool = True,
        recent_lines: Callable[[], list[str]] = list,
    ) -> None:
        self.config: Final = config
        self.replica: Final = replica
        self._clock: Final = running_clock()
        self.driver: Final = Driver(replica, store, clock=self._clock, compress=config.compress)
        self.address: Final = listeners[0].address
        self.peers: Final = Peers(
            self.driver,
            TcpTransport(),
            seeds=config.peer_addresses,
            clock=self._clock,
            random=random.SystemRandom().random,
            discover=discover,
            loopback=self.address.is_loopback,
        )
        doctor = Doctor(
            config,
            self.driver,
            self.address,
            status=lambda: self.clients.status(),
            compare_clocks=self.peers.compare_clocks,
            log=recent_lines,
        )
        inspector = Inspector(self.driver, verify=self.peers.verifier.verify, examine=doctor.examine)
        self.clients: Final = ClientServer(self.driver, inspector=inspector)
        self._connections: set[Connection] = set()
        self._listeners: Final = listeners
        self._advertise: Final = advertise
        self._manager: Final = ServiceManager()
        self._ended = anyio.Event()
        self._local_host = anyio.Event()
        self.peers.on_local_host = self._local_host.set
        self.driver.reports.listen(_log_report)
        self._troubles: Final = Troubles(self.driver, self._clock)
        tell_when_retired(self.driver, join=lambda: self._local_host.set())

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self, stop: anyio.Event, ready: Ready) -> None:
        """Run until `stop`; `ready` is called once the node serves. Raises StartError."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._drive)
            await self._start_health(tasks)
            if self.config.mdns:
                await tasks.start(self._be_found)
            tasks.start_soon(self._announce)
            tasks.start_soon(self._troubles.run)
            tasks.start_soon(self.peers.run)
            if self.config.data_dir is not None:
                tasks.start_soon(Scrubber(self.driver).run)
            tasks.start_soon(keep_leases, self.driver, self._clock, self.clients.stale)
            tasks.start_soon(keep_swept, self.driver, self.config.limits.max_history_bytes)
            tasks.start_soon(keep_partitions, self.driver, self._clock)
            serve = partial(self._accept, max_connections=self.config.limits.max_connections)
            for listener in self._listeners:
                tasks.start_soon(serve, listener)
            _log.info("ready", extra={"address": str(self.address), "entries": len(self.replica.tree)})
            ready(self.address)
            self._manager.tell("READY=1", f"STATUS=serving on {self.address}")
            tasks.start_soon(self._feed_watchdog)
            await stop.wait()
            await self._stop()
            tasks.cancel_scope.cancel()

    async def _feed_watchdog(self) -> None:
        with suppress(Stopping):
            await self._manager.feed_watchdog(lambda: self.driver.call(lambda replica, now: None))

    async def _drive(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        await self.driver.run(task_status=task_status)
        self._ended.set()

    async def _stop(self) -> None:
        _log.info("stopping")
        self._manager.tell("STOPPING=1")
        with anyio.move_on_after(STOP_TIMEOUT_S, shield=True):
            for listener in self._listeners:
                await listener.aclose()
            self.driver.stop()
            await self._ended.wait()
            await anyio.sleep(ANSWER_TIME_S)
            self.clients.close()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.peers.close)
                for connection in list(self._connections - self.peers.connections()):
                    tasks.start_soon(connection.finish, "the node stops")

    async def _start_health(self, tasks: TaskGroup) -> None:
        address = self.config.http_address
        if address is None:
            return
        from .health import Probes, serve_health  # with h11, which the other nodes need not import

        probes = Probes(
            not_ready=lambda: reasons_not_ready(self.driver.status()),
            metrics=lambda: metrics_of(self.driver.status()),
        )
        try:
            port = await tasks.start(serve_health, address, probes)
        except (OSError, ValueError) as err:
            raise StartError(f"health and metrics cannot be served on {address}: {err}") from err
        _log.info("health and metrics", extra={"url": f"http://{Address('tcp', address.host, port)}/"})

    # -- connections -----------------------------------------------------------------------------------------

    async def _accept(self, listener: Listener, *, max_connections: int) -> None:
        await listener.serve(self._converse, max_connections=max_connections)

    async def _converse(self, connection: Connection) -> None:
        """One connection: its first frame says who it is."""
        self._connections.add(connection)
        try:
            await self._dispatch(connection, Frames(connection))
        finally:
            self._connections.discard(connection)

    async def _dispatch(self, connection: Connection, frames: Frames) -> None:
        hello: ClientHello | bytes | None = None
        with anyio.move_on_after(GREETING_TIMEOUT_S):
            try:
                hello = first_frame(await frames.first())
            except (FrameError, WireError) as err:
                _log.info("connection refused", extra={"address": connection.peer, "why": str(err)})
        if isinstance(hello, ClientHello):
            await self.clients.serve(connection, frames, hello)
        elif hello is not None:
            await self.peers.serve(connection, frames, hello)

    # -- own addresses ---------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        """Keep the own record: it makes the node a member, and tells others where to find it."""
        with suppress(Stopping):
            while True:
                self._local_host = anyio.Event()
                self.peers.on_local_host = self._local_host.set
                await self.driver.call(self._set_addresses)
                await self._local_host.wait()
                await anyio.sleep(ANNOUNCE_DELAY_S)

    async def _be_found(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Announce the node by mDNS, where links are encrypted. Raises StartError."""
        hosts = [parse_address(text).host for text in self._own_addresses()]
        config = self.config
        async with announced(config.name, config.cluster, hosts, self.address.port, encrypted=config.encrypted):
            task_status.started()
            await anyio.sleep_forever()

    def _set_addresses(self, replica: Replica, now: Now) -> None:
        replica.set_addresses(self._own_addresses(), now)

    def _own_addresses(self) -> list[str]:
        if self._advertise is not None:
            return list(self._advertise)
        hosts = set(self.peers.local_hosts)
        if is_wildcard(self.address):
            hosts |= _default_hosts(self.address)
        return own_addresses(self.address, hosts)


def _default_hosts(listen: Address) -> set[str]:
    """This machine's addresses on the way to the rest of the world; empty without a network."""
    hosts: set[str] = set()
    for family, target in _SOMEWHERE:
        if family == socket.AF_INET6 and ":" not in listen.host:
            continue
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            hosts.add(str(probe.getsockname()[0]))
    return hosts


def _log_report(report: Report, news: bool) -> None:
    if news:
        level = logging.INFO if report.resolved else logging.WARNING
        _log.log(level, report.text, extra={"report": report.kind, "subject": report.subject})


# -- the process ---------------------------------------------------------------------------------------------


async def run_node(config: NodeConfig, *, ready: Ready = lambda address: None, stop: anyio.Event | None = None) -> None:
    """Run a node until `stop` is set. Raises StartError, alone or in a group."""
    recent = RecentLines(config.name)
    recent.attach()
    try:
        async with listening(config) as listeners, opened(config) as (store, replica):
            node = Node(
                config,
                store,
                replica,
                listeners,
                advertise=config.advertise or None,
                discover=config.discover,
                recent_lines=recent.lines,
            )
            await node.run(stop or anyio.Event(), ready)
    finally:
        recent.detach()


async def _run_until_signal(config: NodeConfig, ready: Ready) -> None:
    """Like :func:`run_node`, ended in order by SIGTERM or SIGINT; a second one cuts the end short."""
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        with _signals() as received:

            async def listen() -> None:
                async for _ in received:
                    if stop.is_set():
                        tasks.cancel_scope.cancel()
                    stop.set()

            tasks.start_soon(listen)
            await run_node(config, ready=ready, stop=stop)
            tasks.cancel_scope.cancel()


def _signals() -> Any:
    return anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT)


def main(settings: Settings, *, out: Any = None) -> int:
    """Run a node in the foreground and give the exit code. One line on standard output says that it serves."""
    config = settings.config
    out = out or sys.stdout

    def ready(address: Address) -> None:
        print(f"kvnode {config.name} ready on {address}", file=out, flush=True)  # the promised line
        gc.freeze()  # what is there now stays: the collector need not look at it, 20 ms each time

    set_up_logging(config.log.level, config.log.format, name=config.name)
    for warning in settings.warnings:
        _log.warning(warning)
    options: dict[str, Any] = {}
    if config.backend == "asyncio" and importlib.util.find_spec("uvloop"):
        options["use_uvloop"] = True
    try:
        anyio.run(_run_until_signal, config, ready, backend=config.backend, backend_options=options)
    except (StartError, BaseExceptionGroup) as err:
        failure = _start_error(err)
        if failure is None:
            raise
        print(f"kv: {failure}", file=sys.stderr)  # noqa: T201  # for people, whatever the log's form
        return EXIT_FAILED
    return 0


def _start_error(err: BaseException) -> StartError | None:
    """The start error, in groups of groups, if it is one."""
    if isinstance(err, BaseExceptionGroup):
        return next((found for inner in err.exceptions if (found := _start_error(inner))), None)
    return err if isinstance(err, StartError) else None
