"""kv verify, diff, quarantine and doctor on real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvnode.client import Client, KvError
from kvnode.client.inspection import SetAside
from kvnode.testing.processes import NodeProcess, run_kv
from tests.support.nodes import ask, put, status, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def code(*args: str) -> int:
    """The exit code of a command."""
    return run_kv(*args, check=False).returncode


def answer(node: NodeProcess, *args: str) -> Any:
    """What a command prints."""
    return json.loads(run_kv(*args, "--node", node.address, "--format", "json", check=False).stdout)


def set_aside(node: NodeProcess) -> dict[str, SetAside]:
    """The quarantine, by path."""
    return {str(row.version.path): row for row in ask(node, lambda kv: kv.inspection.quarantine())}


def value(node: NodeProcess, path: str) -> Any:
    """The value at a path; None if there is none."""

    async def get(kv: Client) -> Any:
        try:
            return (await kv.get(path)).value
        except KvError:
            return None

    return ask(node, get)


def test_a_value_that_the_others_forgot_is_set_aside_survives_a_restart_and_is_restored(tmp_path: Path) -> None:
    """b is away, and retired; what it holds was deleted and forgotten meanwhile (R5)."""
    with NodeProcess("a", tmp_path) as a, NodeProcess("b", tmp_path, peers=[a.address]) as b:
        put(a, "home.x", 1, ack="peer:1")
        assert code("verify", "--node", a.address) == 0
        assert code("diff", a.address, b.address) == 0
        b.terminate()
        ask(a, lambda kv: kv.delete("home.x"))
        ask(a, lambda kv: kv.retire("b"))
        wait_for(lambda: not status(a)["tombstones"], "forgotten")
        b.start()
        wait_for(lambda: "home.x" in set_aside(b), "set aside")
        assert value(b, "home.x") is None
        held = set_aside(b)["home.x"]
        told = "this node was retired by another one and becomes a member again. If it should not: end it"
        wait_for(lambda: told in b.read_log(), "it says that it was retired")
        assert "retired" in {row["kind"] for row in status(b)["reports"]}
        wait_for(lambda: value(a, "@.nodes.b") is not None, "a member again")

        b.kill()
        b.start()
        assert b.read_log().count(told) == 1
        assert set_aside(b)["home.x"] == held
        restored = answer(b, "quarantine", "restore", str(held.number))
        assert (restored["path"], restored["dot"] != str(held.version.dot)) == ("home.x", True)
        wait_for(lambda: value(a, "home.x") == 1, "it is back everywhere")
        assert "home.x" not in {row["path"] for row in answer(b, "quarantine", "list")}


def test_nodes_that_are_not_linked_differ(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as a, NodeProcess("b", tmp_path) as b:
        put(a, "home.x", 1)
        put(b, "home.x", 2)
        put(b, "away.y", 3)
        done = run_kv("diff", a.address, b.address, "home", "--format", "jsonl", check=False)
        assert done.returncode == 1
        (row,) = map(json.loads, done.stdout.splitlines())
        values = {side["node"]: [v["value"] for v in side["versions"]] for side in row["nodes"]}
        assert (row["path"], values) == ("home.x", {"a": [1], "b": [2]})
        assert [side["unheard"] for side in row["nodes"]] == [True, True]
        b.kill()
        assert code("diff", a.address, b.address) == 2


def test_verify_and_doctor_name_a_peer_that_is_gone(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as a, NodeProcess("b", tmp_path, peers=[a.address]) as b:
        put(a, "home.x", 1, ack="peer:1")
        b.kill()
        wait_for(lambda: not any(peer["state"] == "linked" for peer in status(a)["peers"]), "the link is gone")
        assert code("verify", "--wait", "0", "--node", a.address) == 3
        bundle = tmp_path / "a.tar.gz"
        done = run_kv("doctor", "--node", a.address, "--bundle", str(bundle), check=False)
        assert done.returncode == 1
        assert "links: no link to b" in done.stdout
        assert bundle.stat().st_mode & 0o777 == 0o600
        a.terminate()
        assert code("doctor", "--node", a.address) == 1
