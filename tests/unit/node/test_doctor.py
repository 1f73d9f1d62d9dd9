"""Examining a node that runs, one that does not, and the machine below."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kvnode.client import connect
from kvnode.core.effects import Now
from kvnode.data.redact import Redactor
from kvnode.node import examining, findings
from kvnode.node.config import NodeConfig
from kvnode.node.doctor import about, clean_line, config_of, examine_stopped
from kvnode.node.driver import system_clock
from kvnode.node.service import run_node
from kvnode.store.lock import FileLock
from kvnode.store.sqlite import FILE_NAME
from kvnode.testing.inprocess import WAIT_S, TestNode, running_node
from kvnode.testing.processes import free_port
from kvnode.transport.address import Address, parse_address
from kvnode.transport.memory import MemoryTransport

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _sound_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock and the disk of the machine of the test are like."""
    monkeypatch.setattr(examining, "clock_is_synchronised", lambda: True)
    monkeypatch.setattr(findings, "SLOW_SYNC_MS", 60_000.0)
    monkeypatch.setattr(findings, "LOW_BYTES", 0)


def config(tmp_path: Path, name: str = "a", **more: Any) -> NodeConfig:
    port = free_port()
    base = {"name": name, "data": str(tmp_path / name), "listen": f"127.0.0.1:{port}", "socket": "none"}
    return NodeConfig(**(base | more))


@asynccontextmanager
async def running(of: NodeConfig) -> AsyncIterator[str]:
    stop, ready = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_node(of, ready=lambda address: ready.set(), stop=stop)

        tasks.start_soon(run)
        with anyio.fail_after(WAIT_S):
            await ready.wait()
        yield of.listen
        stop.set()


async def examine(address: str, *, bundle: bool = False) -> dict[str, Any]:
    async with connect(address) as kv:
        return await kv.inspection.diagnose(bundle=bundle)


def areas(answer: dict[str, Any]) -> set[str]:
    return {finding["area"] for finding in answer["findings"]}


# -- a node that runs ------------------------------------------------------------------------------------------------


async def test_a_healthy_node(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as address:
        assert await examine(address) == {"findings": []}


async def test_peers_that_are_there_and_one_that_is_not(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    a = config(tmp_path)
    b = config(tmp_path, "b", peers=(a.listen, nobody))
    async with running(a), running(b), connect(b.listen) as kv:
        await kv.set("x", 1, ack="peer:1", timeout=WAIT_S)
        (found,) = (await kv.inspection.diagnose())["findings"]
        assert found["area"] == "links"
        assert found["what"].startswith(f"no link to {nobody}: ")
        (peer,) = [row for row in (await kv.status())["peers"] if row["name"] == "a"]
        assert abs(peer["skew_ms"]) < 20_000
        assert peer["software"]


async def test_a_delete_that_waits_for_a_member_that_is_gone(tmp_path: Path) -> None:
    a = config(tmp_path)
    b = config(tmp_path, "b", peers=(a.listen,))
    async with running(a):
        async with running(b), connect(b.listen) as kv:
            await kv.set("x", 1, ack="peer:1", timeout=WAIT_S)
        async with connect(a.listen) as kv:
            await kv.delete("x")
            with anyio.fail_after(WAIT_S):
                answer = await kv.inspection.diagnose()
                while "deletes" not in areas(answer):  # the link to b is not known to be gone yet
                    answer = await kv.inspection.diagnose()
        (found,) = [f for f in answer["findings"] if f["area"] == "deletes"]
        assert "until b confirms them" in found["what"]
        assert "kv node retire b" in found["way_out"]


async def test_the_bundle_has_what_helps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kvnode")
    async with running(config(tmp_path)) as address:
        answer = await examine(address, bundle=True)
    assert set(answer) == {"findings", "about", "config", "status", "metrics", "deletes", "log"}
    assert answer["status"]["node"] == "a"
    assert answer["config"]["listen"] == address
    assert "kvnode_entries" in answer["metrics"]
    assert any(line["message"] == "ready" for line in answer["log"])


async def test_clocks_of_peers_are_compared() -> None:
    network = MemoryTransport()
    late = TestNode("b")
    late.clock = lambda: Now(system_clock().mono, system_clock().wall + 90_000)
    async with running_node(late, network), running_node(TestNode("a"), network, seeds=["b"]) as a:
        await a.until_linked("b")
        assert a.peers is not None
        await a.peers.compare_clocks()
        (row,) = a.driver.status()["peers"]
        assert 80_000 < row["skew_ms"] < 100_000


# -- a node that does not run ----------------------------------------------------------------------------------------


async def test_a_stopped_node_that_never_ran(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    found = await examine_stopped(config(tmp_path, peers=(nobody, "nosuch.invalid:27590")))
    assert [f.area for f in found] == ["disk", "links", "links"]
    assert "no such folder yet" in found[0].what
    assert {"no link to " + nobody, "no link to nosuch.invalid:27590"} == {f.what.partition(": ")[0] for f in found[1:]}
    assert os.listdir(tmp_path) == []


async def test_a_stopped_node_whose_peer_runs(tmp_path: Path) -> None:
    a = config(tmp_path)
    async with running(a):
        found = await examine_stopped(config(tmp_path, "b", store="memory", data="", peers=(a.listen,)))
    assert found == []


async def test_a_port_that_is_taken_and_a_store_that_is_in_use(tmp_path: Path) -> None:
    mine = config(tmp_path)
    (tmp_path / "a").mkdir()
    lock = FileLock(str(tmp_path / "a" / FILE_NAME))
    lock.acquire()
    address = mine.listen_address
    with socket.socket() as taken:
        taken.bind((address.host, address.port))
        taken.listen()
        found = await examine_stopped(mine)
    lock.release()
    assert [(f.severity, f.area) for f in found] == [("error", "store"), ("error", "ports")]
    assert f"process {os.getpid()}" in found[0].what
    assert await examine_stopped(mine) == []


async def test_listening_for_everybody(tmp_path: Path) -> None:
    (found,) = await examine_stopped(config(tmp_path, store="memory", listen="0.0.0.0:0", insecure=True))
    assert "unencrypted" in found.what


# -- facts -----------------------------------------------------------------------------------------------------------


def test_facts_of_a_disk(tmp_path: Path) -> None:
    facts = examining.disk_facts(tmp_path)
    assert facts.free_bytes > 0
    assert facts.sync_ms is not None
    assert os.listdir(tmp_path) == []
    assert examining.disk_facts(tmp_path / "none").error
    (tmp_path / "file").write_text("")
    assert "cannot be written" in examining.disk_facts(tmp_path / "file").error


def test_the_clock_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert examining.clock_is_synchronised() in (True, False, None)


async def test_probing_what_is_no_node() -> None:
    async def serve(stream: Any) -> None:
        async with stream:
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        why = await examining.probe(Address("tcp", "127.0.0.1", port))
        tasks.cancel_scope.cancel()
    assert why is not None
    assert "something else than a node" in why


async def test_probing_what_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "PROBE_TIMEOUT_S", 0.1)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        why = await examining.probe(Address("tcp", "127.0.0.1", port))
    assert why is not None
    assert "no answer within 0.1 s" in why


@pytest.mark.parametrize(
    ("listen", "reached"),
    [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("127.0.0.1:7", "127.0.0.1:7"), ("h.lan:7", "h.lan:7")],
)
def test_where_a_listener_is_reached(listen: str, reached: str) -> None:
    assert str(examining.reachable_form(parse_address(listen))) == reached


# -- the bundle ------------------------------------------------------------------------------------------------------


def test_about_names_variables_and_not_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVNODE_PASSWORD", "hunter2")
    assert "KVNODE_PASSWORD" in about()["variables"]
    assert "hunter2" not in repr(about())


def test_settings_of_a_bundle(tmp_path: Path) -> None:
    settings = config_of(config(tmp_path, data="/etc/kvnode/cellar.key"))
    assert settings["name"] == "a"
    assert settings["limits.max_connections"] == 1_024
    assert settings["data"] == "***"


def test_lines_of_the_log() -> None:
    assert clean_line('{"message": "x", "password": "hunter2"}', Redactor()) == {"message": "x", "password": "***"}
    assert clean_line("not JSON, password=hunter2", Redactor()) == "not JSON, password=***"
