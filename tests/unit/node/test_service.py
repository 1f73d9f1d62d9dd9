"""A whole node in this process, on real sockets: start, serve, announce, end; and what keeps it from starting."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kvnode.client import Client, Put, connect
from kvnode.node.config import NodeConfig
from kvnode.node.errors import StartError
from kvnode.node.service import run_node
from kvnode.store.files import LOG_FILES
from kvnode.store.frames import PACKED
from kvnode.store.sqlite import FILE_NAME
from kvnode.testing.inprocess import WAIT_S, eventually
from kvnode.testing.processes import COMMAND_TIMEOUT_S, environment, free_port
from kvnode.transport.address import Address

pytestmark = pytest.mark.anyio


def config(**more: Any) -> NodeConfig:
    return NodeConfig(**({"name": "a", "store": "memory", "listen": "127.0.0.1:0", "socket": "none"} | more))


@asynccontextmanager
async def running(of: NodeConfig) -> AsyncIterator[Address]:
    stop = anyio.Event()
    addresses: list[Address] = []
    serving = anyio.Event()

    def ready(address: Address) -> None:
        addresses.append(address)
        serving.set()

    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_node(of, ready=ready, stop=stop)

        tasks.start_soon(run)
        with anyio.fail_after(WAIT_S):
            await serving.wait()
        yield addresses[0]
        stop.set()


def start_error(err: BaseException) -> StartError:
    while isinstance(err, BaseExceptionGroup):
        (err,) = err.exceptions
    assert isinstance(err, StartError)
    return err


async def refused(of: NodeConfig) -> str:
    try:
        with anyio.fail_after(WAIT_S):
            await run_node(of, stop=anyio.Event())
    except BaseException as err:
        text = str(start_error(err))
        assert "\n" not in text
        return text
    raise AssertionError("it started")


async def test_clients_and_peers_share_the_listener(tmp_path: Path) -> None:
    unix = tmp_path / "a.sock"
    async with (
        running(config(socket=str(unix))) as a,
        running(config(name="b", peers=(str(a),))) as b,
        connect(str(b)) as to_b,
        connect(f"unix:{unix}") as to_a,
    ):
        await to_a.set("x", 1, ack="peer:1", timeout=WAIT_S)
        assert (await to_b.get("x")).value == 1
        with anyio.fail_after(WAIT_S):
            peer = {"lag": None}
            while peer["lag"] != 0:  # the last acknowledgement may still be on its way
                (peer,) = (await to_b.status())["peers"]
        assert (peer["name"], peer["state"]) == ("a", "linked")
    assert not unix.exists()


async def test_what_is_on_disk_is_there_after_a_restart(tmp_path: Path) -> None:
    on_disk = config(store="sqlite", data=str(tmp_path / "data"))
    async with running(on_disk) as address, connect(str(address)) as kv:
        await kv.set("x", 1)
    async with running(on_disk) as address, connect(str(address)) as kv:
        assert (await kv.get("x")).value == 1


@pytest.mark.parametrize("compress", ["always", "never"])
async def test_what_goes_to_disk_is_compressed_as_the_settings_say(tmp_path: Path, compress: str) -> None:
    on_disk = config(store="sqlite", data=str(tmp_path), compress=compress)
    async with running(on_disk) as address, connect(str(address)) as kv:
        await kv.set("first", 1)  # with it, the log is there
        await kv.batch([Put(f"home.room.sensor{number}", number) for number in range(200)], ack="disk")
        log = b"".join((tmp_path / f"{FILE_NAME}{suffix}").read_bytes() for suffix in LOG_FILES)
        assert (PACKED in log) is (compress == "always")


async def test_a_node_announces_where_it_is() -> None:
    async with running(config()) as address, connect(str(address)) as kv:
        await eventually_record(kv, [str(address)])


async def eventually_record(kv: Client, addresses: list[str]) -> None:
    async with kv.watch("@.nodes.a") as changes:
        with anyio.fail_after(WAIT_S):
            async for change in changes:
                value = getattr(change, "value", None)
                if isinstance(value, dict) and value["addresses"] == addresses:
                    return


async def test_the_announced_addresses_can_be_given() -> None:
    async with running(config(advertise=("attic.lan:27590",))) as address, connect(str(address)) as kv:
        await eventually_record(kv, ["attic.lan:27590"])


async def test_health_and_metrics() -> None:
    port = free_port()
    async with running(config(http=f"127.0.0.1:{port}")):
        assert await page(port, "/healthz") == "ok\n"
        assert await page(port, "/readyz") == "ready\n"
        assert 'kvnode_info{node="a"' in await page(port, "/metrics")


async def page(port: int, path: str) -> str:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        data = b"".join([piece async for piece in stream])
    return data.partition(b"\r\n\r\n")[2].decode()


# -- the end -------------------------------------------------------------------------------------------------


async def test_a_stop_ends_connections_and_takes_little_time() -> None:
    stop = anyio.Event()
    serving = anyio.Event()
    found: list[Address] = []

    def ready(address: Address) -> None:
        found.append(address)
        serving.set()

    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_node(config(), ready=ready, stop=stop)

        tasks.start_soon(run)
        await serving.wait()
        async with connect(str(found[0])) as kv:
            await kv.set("x", 1)
            stop.set()
            await eventually(lambda: not kv.is_connected)


# -- what keeps a node from starting -------------------------------------------------------------------------


async def test_a_port_in_use() -> None:
    async with running(config()) as address:
        assert await refused(config(listen=str(address))) == (
            f"cannot listen on {address}: address already in use; --listen chooses another place"
        )


async def test_an_address_that_others_reach_needs_consent() -> None:
    assert "--insecure" in await refused(config(listen="0.0.0.0:0"))


async def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in await refused(config(store="sqlite", data=str(file)))


async def test_a_health_port_in_use() -> None:
    async with running(config()) as address:
        assert str(address) in await refused(config(http=str(address)))


async def test_a_socket_that_was_asked_for_must_be(tmp_path: Path) -> None:
    assert "cannot listen on unix:" in await refused(config(socket=str(tmp_path / "no" / "folder.sock")))


async def test_a_socket_of_the_automatic_kind_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr("kvnode.node.opening.SERVICE_SOCKET_DIR", tmp_path / "missing" / "too")
    async with running(config(socket="auto")) as address, connect(str(address)) as kv:
        await kv.set("x", 1)
    assert [r.getMessage() for r in caplog.records].count("no local socket") == 1


_UNTIL_READY = """
import gc, os, signal
from kvnode.node import service, settings

class Out:
    def write(self, text):
        if "ready on" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    def flush(self):
        pass

flags = {"name": "a", "store": "memory", "listen": "127.0.0.1:0", "socket": "none"}
assert service.main(settings.load(env={}, flags=flags), out=Out()) == 0
print(gc.get_freeze_count())
"""


def test_what_a_process_has_made_when_it_is_ready_is_kept_from_the_garbage_collector() -> None:
    """Or each of its rounds over modules and tree holds the event loop up."""
    done = subprocess.run(
        [sys.executable, "-c", _UNTIL_READY],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=True,
    )
    assert int(done.stdout) > 10_000
