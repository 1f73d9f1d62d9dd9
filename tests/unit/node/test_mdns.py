"""mDNS: two instances of zeroconf on loopback find one another; nothing is announced where links are not encrypted."""

from __future__ import annotations

import builtins
import os
import socket
from typing import Any

import pytest
from zeroconf import ServiceInfo

from kvnode.cli.main import main
from kvnode.node import mdns
from kvnode.node.config import NodeConfig
from kvnode.node.errors import StartError
from kvnode.node.settings import ConfigError, load

LOOPBACK = ["127.0.0.1"]


@pytest.fixture
def service() -> str:
    """A type of service that no other test uses at the same time."""
    return f"_kvt{os.getpid()}._tcp.local."


@pytest.mark.anyio
async def test_a_node_that_is_announced_is_found(service: str) -> None:
    async with mdns.announced(
        "attic.1", "house", LOOPBACK, 27590, encrypted=True, service=service, interfaces=LOOPBACK
    ):
        found: list[mdns.Found] = []
        for seconds in (0.7, 2.0, 6.0):  # as long as a slow machine needs
            found = found or await mdns.find(seconds, service=service, interfaces=LOOPBACK)
    assert found == [mdns.Found("attic.1", ("127.0.0.1:27590",), "house")]


@pytest.mark.anyio
async def test_nothing_is_announced_where_links_are_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was announced")

    monkeypatch.setattr(mdns, "_announce", never)
    with pytest.raises(StartError, match="only where links are encrypted"):
        async with mdns.announced("attic", "house", LOOPBACK, 27590, encrypted=False):
            pass


def test_the_setting_is_refused_as_long_as_there_is_no_encryption() -> None:
    assert not NodeConfig("a").encrypted
    with pytest.raises(ConfigError, match="--mdns: mdns: expected false, because a node announces itself only where"):
        load(env={}, flags={"name": "a", "store": "memory", "mdns": True})
    assert load(env={}, flags={"name": "a", "store": "memory"}).config.mdns is False


def test_what_strangers_say_is_taken_with_care() -> None:
    addresses = [socket.inet_aton(f"10.0.0.{n}") for n in range(20)]
    properties = {"name": b"x\x1b[2J", "cluster": b"\xff"}
    info = ServiceInfo(mdns.SERVICE, f"x.{mdns.SERVICE}", addresses=addresses, port=1, properties=properties)
    found = mdns.found_of(info, mdns.SERVICE)
    assert (found.name, len(found.addresses), found.cluster) == ("x\x1b[2J", mdns.MOST_ADDRESSES, "\ufffd")


def test_find_for_people_and_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    async def find(seconds: float, *, interfaces: Any) -> list[mdns.Found]:
        asked.append((seconds, interfaces))
        return [mdns.Found("at\x1btic", ("10.0.0.1:27590",), "house"), mdns.Found("b", (), "other")]

    monkeypatch.setattr(mdns, "find", find)
    assert main(["node", "find", "--cluster", "house", "--interface", "10.0.0.9", "--seconds", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["at\\x1btic", "house", "10.0.0.1:27590"]
    assert asked == [(0.5, ("10.0.0.9",))]
    assert main(["node", "find", "--cluster", "none"]) == 0
    assert capsys.readouterr().out.endswith("no node announces itself here\n")
    assert main(["node", "find", "--format", "jsonl"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == '{"name": "b", "cluster": "other", "addresses": []}'


def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "zeroconf":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["node", "find"]) == 70
    assert capsys.readouterr().err == f"kv: {mdns.MISSING}\n"
